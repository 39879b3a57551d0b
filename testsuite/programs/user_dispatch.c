// Syscall user dispatch: with the selector at "block" every call raises SIGSYS instead, whatever form its site has. Calls
// from the excepted range, and calls that the selector permits, are made.
//#Expect-stdout: dispatched 6
//#Expect-stdout: let through
//#Expect-stdout: excepted range
#include "common.h"
#include <sys/prctl.h>
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

static volatile char selector;
static volatile int dispatched;

static void on_sys(int sig, siginfo_t *si, void *ctx) {
    (void)sig;
    selector = 0;  // let the handler, and its return, through
    CHECK_EQ(si->si_code, 2 /* SYS_USER_DISPATCH */);
    CHECK(si->si_syscall == SYS_getppid || si->si_syscall == SYS_getuid);
    ((ucontext_t *)ctx)->uc_mcontext.gregs[REG_RAX] = 1000 + ++dispatched;
}

int main(void) {
    long parent = getppid(), uid = getuid();
    handle(SIGSYS, on_sys, 0);
    unsigned char *jit = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memcpy(jit, "\xb8\x6e\0\0\0\x0f\x05\xc3", 8);
    CHECK(prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) == 0);
    for (int i = 0; i < 2; i++) {
        long r;
        selector = 1;
        CHECK_EQ(getppid(), 1001 + 3 * i);
        selector = 1;
        __asm__ volatile("mov $102, %%eax\n\tsyscall" : "=a"(r) : : "rcx", "r11", "memory", "cc");
        CHECK_EQ(r, 1002 + 3 * i);
        selector = 1;
        CHECK_EQ(((long (*)(void))(uintptr_t)jit)(), 1003 + 3 * i);
    }
    selector = 0;
    printf("dispatched %d\n", dispatched);
    CHECK_EQ(getppid(), parent);
    CHECK(prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0) == 0);
    selector = 1;
    CHECK_EQ(getuid(), uid);
    puts("let through");
    // The jit's page may call the kernel at any time, and the rest of the program may not.
    selector = 0;
    CHECK(prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, jit, 4096, &selector) == 0);
    selector = 1;
    CHECK_EQ(((long (*)(void))(uintptr_t)jit)(), parent);
    CHECK_EQ(selector, 1);
    CHECK_EQ(getppid(), 1007);
    CHECK(prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0) == 0);
    puts("excepted range");
    return PASS;
}
