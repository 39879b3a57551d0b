// x87, SSE, AVX and (where the processor has it) AVX-512 registers hold per-thread patterns across preemption by other
// threads with other patterns, migration, system calls and signals whose handlers overwrite them all.
//#Libs: -pthread
//#Timeout: 120
//#Expect-stdout: state kept
#include "common.h"

static int have_avx, have_avx512;
static volatile int ticks;

static void clobber(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    ticks++;
    if (have_avx) __asm__ volatile(
        "vpcmpeqd %%ymm0,%%ymm0,%%ymm0\n\tvmovdqa %%ymm0,%%ymm5\n\tvmovdqa %%ymm0,%%ymm10\n\tvmovdqa %%ymm0,%%ymm15\n\t"
        "vmovdqa %%ymm0,%%ymm1\n\tvmovdqa %%ymm0,%%ymm2\n\tvmovdqa %%ymm0,%%ymm3\n\tvmovdqa %%ymm0,%%ymm14" : : :
        "xmm0", "xmm1", "xmm2", "xmm3", "xmm5", "xmm10", "xmm14", "xmm15");
    __asm__ volatile("fninit\n\tfldpi\n\tfldl2e" : : : "st");
    unsigned csr = 0x9fc0;
    __asm__ volatile("ldmxcsr %0\n\tpcmpeqd %%xmm7,%%xmm7\n\tmovdqa %%xmm7,%%xmm8" : : "m"(csr) : "xmm7", "xmm8");
}

enum { N = 16 };
struct block {
    __attribute__((aligned(64))) unsigned char bytes[N][64];
};

static void fill(struct block *b, unsigned seed) {
    for (size_t i = 0; i < sizeof b->bytes; i++) ((unsigned char *)b->bytes)[i] = (unsigned char)(seed + i * 31);
}

#define LOAD_OR_STORE(op)                                                                                            \
    op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define LOAD_YMM(n) "vmovdqa " #n "*64(%[in]), %%ymm" #n "\n\t"
#define STORE_YMM(n) "vmovdqa %%ymm" #n ", " #n "*64(%[out])\n\t"
#define LOAD_XMM(n) "movdqa " #n "*64(%[in]), %%xmm" #n "\n\t"
#define STORE_XMM(n) "movdqa %%xmm" #n ", " #n "*64(%[out])\n\t"
#define LOAD_ZMM(n) "vmovdqa64 " #n "*64(%[in]), %%zmm" #n "\n\t"
#define STORE_ZMM(n) "vmovdqa64 %%zmm" #n ", " #n "*64(%[out])\n\t"
// Spins (user time, for preemption), then makes a call that does not sleep and one that gives up the CPU.
#define BODY                                                                                                         \
    "1: sub $1, %[spins]\n\tjne 1b\n\t"                                                                              \
    "mov $39, %%eax\n\tsyscall\n\t"                                                                                  \
    "mov $24, %%eax\n\tsyscall\n\t"
#define VECTORS                                                                                                      \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",       \
        "xmm13", "xmm14", "xmm15"

static void run_sse(const struct block *in, struct block *out, long spins) {
    __asm__ volatile(LOAD_OR_STORE(LOAD_XMM) BODY LOAD_OR_STORE(STORE_XMM)
                     : [spins] "+r"(spins)
                     : [in] "r"(in), [out] "r"(out)
                     : "rax", "rcx", "r11", "memory", "cc", VECTORS);
}
__attribute__((target("avx"))) static void run_avx(const struct block *in, struct block *out, long spins) {
    __asm__ volatile(LOAD_OR_STORE(LOAD_YMM) BODY LOAD_OR_STORE(STORE_YMM) "vzeroupper"
                     : [spins] "+r"(spins)
                     : [in] "r"(in), [out] "r"(out)
                     : "rax", "rcx", "r11", "memory", "cc", VECTORS);
}
__attribute__((target("avx512f"))) static void run_avx512(const struct block *in, struct block *out, long spins) {
    __asm__ volatile(LOAD_OR_STORE(LOAD_ZMM) BODY LOAD_OR_STORE(STORE_ZMM) "vzeroupper"
                     : [spins] "+r"(spins)
                     : [in] "r"(in), [out] "r"(out)
                     : "rax", "rcx", "r11", "memory", "cc", VECTORS);
}

static void *work(void *arg) {
    unsigned me = (unsigned)(uintptr_t)arg, cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    struct block in, out;
    mask(SIG_UNBLOCK, SIGALRM);
    int64_t end = now_ns(CLOCK_MONOTONIC) + 3000000000ll;
    // Each thread has rounding and precision of its own.
    unsigned csr = 0x1f80 | (me % 4) << 13;
    unsigned short cw = 0x37f | (me % 4) << 10;
    __asm__ volatile("ldmxcsr %0\n\tfninit\n\tfldcw %1\n\tfld1" : : "m"(csr), "m"(cw) : "st");
    for (unsigned round = 0; now_ns(CLOCK_MONOTONIC) < end || ticks <= 200; round++) {
        if (round % 16 == 0) pin((int)((me + round / 16) % cpus));
        fill(&in, me * 57 + round);
        memset(&out, 0, sizeof out);
        int width = 16;
        switch (round % 3) {
        case 2:
            if (have_avx512) {
                run_avx512(&in, &out, 30000);
                width = 64;
                break;
            }
            // fall through
        case 1:
            if (have_avx) {
                run_avx(&in, &out, 30000);
                width = 32;
                break;
            }
            // fall through
        default:
            run_sse(&in, &out, 30000);
        }
        for (int i = 0; i < N; i++) CHECK(memcmp(in.bytes[i], out.bytes[i], width) == 0);
        unsigned csr_now;
        unsigned short cw_now;
        __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(csr_now), "=m"(cw_now));
        CHECK_EQ(csr_now & ~0x3fu, csr);
        CHECK_EQ(cw_now, cw);
    }
    double one;
    __asm__ volatile("fstpl %0" : "=m"(one) : : "st");
    CHECK(one == 1.0);
    __asm__ volatile("fninit");
    return NULL;
}

int main(void) {
    __builtin_cpu_init();
    have_avx = __builtin_cpu_supports("avx2");
    have_avx512 = __builtin_cpu_supports("avx512f");
    handle(SIGALRM, clobber, SA_RESTART);
    mask(SIG_BLOCK, SIGALRM);
    struct itimerval fast = {{0, 900}, {0, 900}};
    CHECK(setitimer(ITIMER_REAL, &fast, NULL) == 0);
    pthread_t t[6];
    for (int i = 0; i < 6; i++) PT(pthread_create(&t[i], NULL, work, (void *)(intptr_t)i));
    for (int i = 0; i < 6; i++) PT(pthread_join(t[i], NULL));
    puts("state kept");
    return PASS;
}
