// Restartable sequences: glibc has registered the area; cpu_id is right; a critical section interrupted by preemption,
// migration or a signal is aborted to its handler, and per-CPU counters kept that way lose nothing.
//#Libs: -pthread
//#Timeout: 120
//#Expect-stdout: registered
//#Expect-stdout: cpu_id right
//#Expect-stdout: 400000 counted
#include "common.h"
#include <linux/rseq.h>
#include <sys/rseq.h>

static struct rseq *self(void) {
    return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

static struct {
    __attribute__((aligned(128))) long count;
} per_cpu[64];
static int aborts, by_signals;
// Where the section goes on when it is aborted.
extern const char rseq_aborted[];

// One more on this CPU's counter; -1 when the section was aborted.
static __attribute__((noinline, noclone)) int increment(void) {
    struct rseq *rs = self();
    int cpu = (int)__atomic_load_n(&rs->cpu_id_start, __ATOMIC_RELAXED);
    long *counter = &per_cpu[cpu].count;
    __asm__ goto(
        ".pushsection __rseq_cs, \"aw\"\n\t"
        ".balign 32\n\t"
        "3:\n\t"
        ".long 0, 0\n\t"
        ".quad 1f, 2f - 1f, 4f\n\t"
        ".popsection\n\t"
        "lea 3b(%%rip), %%rax\n\t"
        "mov %%rax, %c[cs](%[rs])\n\t"
        "1:\n\t"
        "cmpl %[cpu], %c[id](%[rs])\n\t"
        "jne %l[changed]\n\t"
        // Long enough for the section to be hit now and then.
        "mov (%[counter]), %%rcx\n\t"
        "mov $60, %%edx\n\t"
        "6: dec %%edx\n\t"
        "jnz 6b\n\t"
        "add $1, %%rcx\n\t"
        "mov %%rcx, (%[counter])\n\t"
        "2:\n\t"
        ".pushsection .text.unlikely, \"ax\"\n\t"
        ".byte 0x0f, 0xb9, 0x3d\n\t"
        ".long %c[sig]\n\t"
        "rseq_aborted:\n\t"
        "4: jmp %l[aborted]\n\t"
        ".popsection\n\t"
        :
        : [rs] "r"(rs), [counter] "r"(counter), [cpu] "r"(cpu), [cs] "i"(__builtin_offsetof(struct rseq, rseq_cs)),
          [id] "i"(__builtin_offsetof(struct rseq, cpu_id)), [sig] "i"(RSEQ_SIG)
        : "memory", "cc", "rax", "rcx", "rdx"
        : aborted, changed);
    return 0;
aborted:
    __atomic_add_fetch(&aborts, 1, __ATOMIC_RELAXED);
    return -1;
changed:
    return -1;
}

static void *work(void *arg) {
    mask(SIG_UNBLOCK, SIGALRM);
    for (int i = 0; i < 100000; i++)
        while (increment() != 0) {
        }
    return arg;
}

static void tick(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si;
    // The kernel aborts the section before it calls the handler.
    if (((ucontext_t *)ctx)->uc_mcontext.gregs[REG_RIP] == (greg_t)(uintptr_t)rseq_aborted)
        __atomic_add_fetch(&by_signals, 1, __ATOMIC_RELAXED);
}

int main(void) {
    CHECK(__rseq_size >= 20);
    CHECK((int)self()->cpu_id >= 0);
    puts("registered");
    int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    for (int i = 0; i < 20; i++) {
        pin(i % cpus);
        CHECK_EQ(self()->cpu_id, i % cpus);
        CHECK_EQ(sched_getcpu(), i % cpus);
    }
    cpu_set_t all;
    CPU_ZERO(&all);
    for (int i = 0; i < cpus; i++) CPU_SET(i, &all);
    CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
    puts("cpu_id right");
    handle(SIGALRM, tick, SA_RESTART);
    mask(SIG_BLOCK, SIGALRM);
    struct itimerval fast = {{0, 500}, {0, 500}};
    CHECK(setitimer(ITIMER_REAL, &fast, NULL) == 0);
    pthread_t t[4];
    for (int i = 0; i < 4; i++) PT(pthread_create(&t[i], NULL, work, NULL));
    for (int i = 0; i < 4; i++) PT(pthread_join(t[i], NULL));
    long sum = 0;
    for (int i = 0; i < 64; i++) sum += per_cpu[i].count;
    printf("%ld counted\n", sum);
    fprintf(stderr, "%d aborts, %d by signals\n", aborts, by_signals);
    CHECK(aborts > 0 && by_signals > 0);
    return PASS;
}
