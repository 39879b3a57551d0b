// A forged signal frame must not buy privilege: rt_sigreturn with selectors, flags or addresses of the kernel leaves a
// ring-3 program at ring 3 (or kills it), and a ring-0 program with a frame into the kernel half dies of SIGSEGV.
//#Expect-stdout: code segment
//#Expect-stdout: kernel address
//#Expect-stdout: flags
//#Expect-stdout: wild stack
#include "common.h"
#include <ucontext.h>

static int what;

static void forge(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si;
    greg_t *g = ((ucontext_t *)ctx)->uc_mcontext.gregs;
    switch (what) {
    case 0: g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffl) | 0x10; break;
    case 1: g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffl) | 0x10 | (0x18l << 48); break;
    case 2: g[REG_RIP] = (greg_t)0xffffe90000001000; break;
    case 3: g[REG_RIP] = (greg_t)0x0000900000000000; break;
    case 4: g[REG_EFL] = 0x3202 & ~0x200; break;  // IOPL 3, interrupts off
    case 5: g[REG_EFL] |= 0x4000 | 0x10000; break;  // nested task, resume
    case 6: g[REG_RSP] = (greg_t)0xffffe90000001000; break;
    case 7: g[REG_RSP] = (greg_t)0x0000900000000000; break;
    }
}

static int run(int n) {
    fflush(stdout);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        int before = ring();
        what = n;
        handle(SIGUSR1, forge, 0);
        raise(SIGUSR1);
        CHECK_EQ(ring(), before);
        unsigned long flags;
        __asm__ volatile("lea -128(%%rsp),%%rsp\n\tpushfq\n\tpop %0\n\tlea 128(%%rsp),%%rsp" : "=r"(flags));
        CHECK(flags & 0x200);
        if (before == 3) CHECK((flags & 0x3000) == 0);
        for (int i = 0; i < 100; i++) CHECK(getppid() > 0);
        _exit(21);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status)) {
        // A stack that is not canonical is a stack fault on some processors, and that is SIGBUS.
        CHECK(WTERMSIG(status) == SIGSEGV || (n == 7 && WTERMSIG(status) == SIGBUS));
        return -1;
    }
    return WEXITSTATUS(status);
}

int main(void) {
    for (int i = 0; i < 2; i++) {
        int r = run(i);
        CHECK(r == 21 || r == -1);
    }
    puts("code segment");
    CHECK_EQ(run(2), -1);
    CHECK_EQ(run(3), -1);
    puts("kernel address");
    CHECK_EQ(run(4), 21);
    CHECK_EQ(run(5), 21);
    puts("flags");
    CHECK_EQ(run(6), -1);
    CHECK_EQ(run(7), -1);
    puts("wild stack");
    return PASS;
}
