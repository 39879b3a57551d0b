// The vector state of a signal frame: the handler sees the interrupted values, its changes to the frame arrive, fork
// and exec'd threads start from the right state.
//#Libs: -pthread
//#Expect-stdout: frame shows xmm3
//#Expect-stdout: frame changes xmm3
//#Expect-stdout: child has it
//#Expect-stdout: thread starts clean
#include "common.h"
#include <ucontext.h>

static volatile unsigned long long shown;

static void look(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si;
    struct _libc_fpstate *fp = ((ucontext_t *)ctx)->uc_mcontext.fpregs;
    CHECK(fp != NULL && (uintptr_t)fp % 64 == 0);
    memcpy((void *)&shown, &fp->_xmm[3], 8);
    unsigned long long new = 0xfeedfacecafef00d;
    memcpy(&fp->_xmm[3], &new, 8);
    ((ucontext_t *)ctx)->uc_mcontext.gregs[REG_RIP] += 2;
}

static void *thread(void *arg) {
    unsigned csr;
    unsigned short cw;
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(csr), "=m"(cw));
    CHECK_EQ(csr & 0xffc0, 0x1f80 | 0x6000);
    CHECK_EQ(cw, 0x37f);
    return arg;
}

int main(void) {
    handle(SIGILL, look, 0);
    unsigned long long in = 0x0123456789abcdef, out = 0;
    __asm__ volatile("movq %1, %%xmm3\n\tud2\n\tmovq %%xmm3, %0" : "=r"(out) : "r"(in) : "xmm3", "memory");
    CHECK_EQ(shown, in);
    puts("frame shows xmm3");
    CHECK_EQ(out, 0xfeedfacecafef00d);
    puts("frame changes xmm3");
    fflush(stdout);

    // fork by hand: the value has to sit in the register while the child is made.
    long pid;
    __asm__ volatile("movq %[in], %%xmm9\n\tmov $57, %%eax\n\tsyscall\n\tmovq %%xmm9, %[out]"
                     : "=&a"(pid), [out] "=r"(out)
                     : [in] "r"(in)
                     : "rcx", "r11", "xmm9", "memory", "cc");
    CHECK_EQ(out, in);
    if (pid == 0) _exit(3);
    expect_exit((pid_t)pid, 3);
    puts("child has it");

    // New threads inherit the control words, as POSIX's fenv asks.
    unsigned csr = 0x1f80 | 0x6000;
    __asm__ volatile("ldmxcsr %0" : : "m"(csr));
    pthread_t t;
    PT(pthread_create(&t, NULL, thread, NULL));
    PT(pthread_join(t, NULL));
    puts("thread starts clean");
    return PASS;
}
