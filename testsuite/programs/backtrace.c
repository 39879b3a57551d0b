// backtrace() from a handler that interrupted a blocked system call finds the caller of that call: unwinding goes
// through rewritten sites and through the signal frame. From a plain call and from a fault too.
//#CFlags: -O2 -fno-omit-frame-pointer
//#Expect-stdout: plain
//#Expect-stdout: fault
//#Expect-stdout: nanosleep
//#Expect-stdout: read
//#Expect-stdout: futex
//#Expect-stdout: poll
//#Expect-stdout: raw
#include "common.h"
#include <execinfo.h>
#include <linux/futex.h>
#include <poll.h>

static void *frames[64];
static int depth;
static volatile int taken;
static sigjmp_buf back;

static void take(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    depth = backtrace(frames, 64);
    taken = 1;
}

static void take_and_leap(int sig, siginfo_t *si, void *ctx) {
    take(sig, si, ctx);
    siglongjmp(back, 1);
}

static int fd[2];
static int word;

static __attribute__((noinline, noclone)) long blocked(int what) {
    struct timespec ts = {10, 0};
    struct pollfd p = {.fd = fd[0], .events = POLLIN};
    char c;
    long r = 0;
    switch (what) {
    case 0: r = nanosleep(&ts, NULL); break;
    case 1: r = read(fd[0], &c, 1); break;
    case 2: r = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0); break;
    case 3: r = poll(&p, 1, 10000); break;
    case 4: {
        // The program's own inline site: ppoll would do as well; pause has no argument to set up.
        __asm__ volatile("mov $34, %%eax\n\tsyscall" : "=a"(r) : : "rcx", "r11", "memory", "cc");
        break;
    }
    case 5: *(volatile int *)8 = 1; break;
    case 6: depth = backtrace(frames, 64); break;
    }
    __asm__ volatile("" : : : "memory");
    return r;
}

// Stores the address in main() to which it returns. That has to be in the backtrace. blocked() must not be a tail call,
// because its frame would take the place of this one.
static __attribute__((noinline, noclone)) void caller(int what, void **here) {
    *here = __builtin_return_address(0);
    blocked(what);
    __asm__ volatile("" : : : "memory");
}

static void found(void *in_main) {
    for (int i = 0; i < depth; i++)
        if (frames[i] == in_main) return;
    char text[64];
    for (int i = 0; i < depth; i++) {
        int n = snprintf(text, sizeof text, "  frame %d: %p\n", i, frames[i]);
        if (write(2, text, (size_t)n) < 0) break;
    }
    CHECK(!"main's frame in the backtrace");
}

int main(void) {
    void *here;
    SYS(pipe(fd));
    caller(6, &here);
    found(here);
    puts("plain");
    handle(SIGSEGV, take_and_leap, 0);
    if (sigsetjmp(back, 1) == 0) caller(5, &here);
    found(here);
    puts("fault");
    handle(SIGALRM, take, 0);
    static const char *name[] = {"nanosleep", "read", "futex", "poll", "raw"};
    for (int i = 0; i < 5; i++) {
        taken = 0;
        struct itimerval soon = {{0, 0}, {0, 30000}};
        CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
        caller(i, &here);
        CHECK(taken);
        found(here);
        puts(name[i]);
    }
    return PASS;
}
