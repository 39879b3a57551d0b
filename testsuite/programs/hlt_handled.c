// `hlt` is a fault that a handler sees, with the same signal and code at every ring and the registers as they were:
// behind a check that mostly passes, alone in its function, and with nothing behind it.
//#Expect-stdout: caught 60
//#Expect-stdout: killed 3
#include "common.h"

static sigjmp_buf back;
static volatile int faults;

// Nothing else may come between the mark in rbx and the trap.
#define MARK "mov $0x1234567, %%ebx\n\t"

static __attribute__((noinline)) void check(long bad) {
    __asm__ volatile(MARK "test %0, %0\n\tje 1f\n\thlt\n1:" : : "r"(bad) : "rbx", "cc");
}

static __attribute__((noinline)) void stop(long bad) {
    if (bad) __asm__ volatile(MARK "hlt" : : : "rbx");
}

__attribute__((noreturn, noinline)) static void end(void) {
    __asm__ volatile(MARK "hlt" : : : "rbx");
    __builtin_unreachable();
}

static void trap(int kind) {
    if (kind == 0) check(1);
    else if (kind == 1) stop(1);
    else end();
    CHECK(!"reached");
}

static void leap(int sig, siginfo_t *si, void *ctx) {
    const greg_t *reg = ((ucontext_t *)ctx)->uc_mcontext.gregs;
    CHECK_EQ(sig, SIGSEGV);
    CHECK_EQ(si->si_code, SI_KERNEL);
    CHECK(si->si_addr == NULL);
    CHECK_EQ(reg[REG_RBX], 0x1234567);
    // The first time the handler returns to the instruction, which must fault in the same way again.
    if (++faults % 2) return;
    siglongjmp(back, 1);
}

int main(void) {
    check(0);
    stop(0);
    handle(SIGSEGV, leap, 0);
    volatile int n = 0;
    for (int i = 0; i < 60; i++) {
        if (sigsetjmp(back, 1) == 0) trap(i % 3);
        CHECK_EQ(faults, 2 * (i + 1));
        n++;
    }
    printf("caught %d\n", n);
    fflush(stdout);
    CHECK(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
    for (n = 0; n < 3; n++) {
        pid_t pid = SYS(fork());
        if (pid == 0) trap(n);
        expect_signal(pid, SIGSEGV);
    }
    printf("killed %d\n", n);
    return PASS;
}
