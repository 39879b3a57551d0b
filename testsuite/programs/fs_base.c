// FS is the program's: set by instruction and by call, kept over preemption by other threads, signals, calls and faults;
// every thread has its own.
//#Libs: -pthread
//#Expect-stdout: kept
#include "common.h"
#include <sys/auxv.h>

static volatile int ticks;

// Counts the signals that come while FS is one of spin_with()'s. Uses no TLS.
static __attribute__((optimize("no-stack-protector"))) void tick(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    unsigned long base;
    __asm__ volatile("rdfsbase %0" : "=r"(base));
    if (base < 1ul << 40) ticks++;
}

static __attribute__((optimize("no-stack-protector"))) unsigned long spin_with(unsigned long base, long spins) {
    unsigned long now, nr = SYS_sched_yield;
    // No TLS is used between the two changes, not even by the handler of the only signal that is not blocked.
    __asm__ volatile(
        "rdfsbase %%r8\n\t"
        "wrfsbase %[base]\n\t"
        "1: sub $1, %[spins]\n\tjne 1b\n\t"
        "syscall\n\t"
        "movb $1, (%[page])\n\t"
        "rdfsbase %[now]\n\t"
        "wrfsbase %%r8\n\t"
        : [now] "=&r"(now), [spins] "+r"(spins), "+a"(nr)
        : [base] "r"(base), [page] "r"(&(char[1]){0})
        : "r8", "rcx", "r11", "memory", "cc");
    return now;
}

static void *work(void *arg) {
    sigset_t all;
    sigfillset(&all);
    PT(pthread_sigmask(SIG_BLOCK, &all, NULL));
    mask(SIG_UNBLOCK, SIGALRM);
    int64_t end = now_ns(CLOCK_MONOTONIC) + 1000000000ll;
    unsigned long i = (unsigned long)(uintptr_t)arg;
    do CHECK_EQ(spin_with(i * 4096, 20000), i * 4096);
    while (i += 16, now_ns(CLOCK_MONOTONIC) < end);
    return NULL;
}

int main(void) {
    // Bit 1 of AT_HWCAP2: the instructions may be used.
    int usable = getauxval(AT_HWCAP2) & 2;
    CHECK(usable || !in_guest());
    if (usable) {
        handle(SIGALRM, tick, SA_RESTART);
        mask(SIG_BLOCK, SIGALRM);
        struct itimerval fast = {{0, 1000}, {0, 1000}};
        CHECK(setitimer(ITIMER_REAL, &fast, NULL) == 0);
        pthread_t t[4];
        for (intptr_t i = 0; i < 4; i++) PT(pthread_create(&t[i], NULL, work, (void *)(i + 1)));
        for (int i = 0; i < 4; i++) PT(pthread_join(t[i], NULL));
        unsigned long base;
        __asm__ volatile("rdfsbase %0" : "=r"(base));
        CHECK_EQ(base, (uintptr_t)__builtin_thread_pointer());
        CHECK(ticks > 0);
    }
    puts("kept");
    return PASS;
}
