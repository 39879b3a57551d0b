// A loop in assembly that keeps 14 words below its stack pointer and no frame, under a storm of timer signals and
// interrupts, on two CPUs: nothing may ever write into the red zone.
//#Libs: -pthread -lrt
//#Timeout: 120
//#Expect-stdout: red zones intact
#include "common.h"

static volatile int ticks;

static void tick(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    char scratch[512];
    memset(scratch, 0x5a, sizeof scratch);
    __asm__ volatile("" : : "r"(scratch) : "memory");
    ticks++;
}

// Fills the red zone from rdi, spins, and returns how many of the 14 words changed.
long red_zone_loop(long seed, long spins);
__asm__(
    ".text\n"
    ".globl red_zone_loop\n"
    ".type red_zone_loop, @function\n"
    "red_zone_loop:\n"
    ".cfi_startproc\n"
    "	mov %rdi, %rdx\n"
    "	.irp off, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112\n"
    "	mov %rdx, -\\off(%rsp)\n"
    "	add $3, %rdx\n"
    "	.endr\n"
    "1:	sub $1, %rsi\n"
    "	jne 1b\n"
    "	xor %eax, %eax\n"
    "	xor %ecx, %ecx\n"
    "	mov %rdi, %rdx\n"
    "	.irp off, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112\n"
    "	cmp %rdx, -\\off(%rsp)\n"
    "	setne %cl\n"
    "	add %rcx, %rax\n"
    "	add $3, %rdx\n"
    "	.endr\n"
    "	ret\n"
    ".cfi_endproc\n"
    ".size red_zone_loop, .-red_zone_loop\n"
    ".previous\n");

static void *spin(void *arg) {
    mask(SIG_UNBLOCK, SIGALRM);
    mask(SIG_UNBLOCK, SIGUSR1);
    // Three seconds, and longer where signals come slowly.
    int64_t end = now_ns(CLOCK_MONOTONIC) + 3000000000ll;
    for (long seed = 1; now_ns(CLOCK_MONOTONIC) < end || ticks <= 1000; seed++) CHECK_EQ(red_zone_loop(seed * 1000, 20000), 0);
    return arg;
}

int main(void) {
    handle(SIGALRM, tick, SA_RESTART);
    handle(SIGUSR1, tick, SA_RESTART);
    mask(SIG_BLOCK, SIGALRM);
    mask(SIG_BLOCK, SIGUSR1);
    struct itimerval fast = {{0, 500}, {0, 500}};
    CHECK(setitimer(ITIMER_REAL, &fast, NULL) == 0);
    timer_t timer;
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    CHECK(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0);
    struct itimerspec its = {{0, 300000}, {0, 300000}};
    CHECK(timer_settime(timer, 0, &its, NULL) == 0);
    pthread_t t[3];
    for (int i = 0; i < 3; i++) PT(pthread_create(&t[i], NULL, spin, NULL));
    for (int i = 0; i < 3; i++) PT(pthread_join(t[i], NULL));
    puts("red zones intact");
    return PASS;
}
