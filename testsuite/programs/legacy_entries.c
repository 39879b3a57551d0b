// The old ways into the kernel from 64-bit code, int 0x80 and sysenter, and other gates: whatever Linux answers at
// ring 3 (a call or SIGSEGV), the kernel stays whole.
//#Expect-stdout: refused
//#Expect-stdout: survived
#include "common.h"

static sigjmp_buf back;
static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    siglongjmp(back, 1);
}

static void attempt(int which) {
    long r = 0;
    switch (which) {
    case 0: __asm__ volatile("int $0x80" : "=a"(r) : "a"(20l) : "memory", "r8", "r9", "r10", "r11"); break;
    case 1: __asm__ volatile("int $0x81" : : : "memory"); break;
    case 2: __asm__ volatile("int $3" : : : "memory"); break;
    case 3: __asm__ volatile("int $4" : : : "memory"); break;
    case 4: __asm__ volatile(".byte 0xf1" : : : "memory"); break;
    }
}

// sysenter preserves neither return address nor stack of a 64-bit program, so a child tries it and dies.
static void sysenter(void) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
        __asm__ volatile("sysenter" : : "a"(20l) : "memory", "rcx", "rdx");
        _exit(1);
    }
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    // On Intel's processors there is no entry, on AMD's no such instruction in 64-bit mode.
    CHECK(WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGILL));
}

int main(void) {
    for (int i = 0; i < 10; i++) sysenter();
    puts("refused");
    fflush(stdout);
    handle(SIGSEGV, leap, 0);
    handle(SIGTRAP, leap, 0);
    handle(SIGILL, leap, 0);
    handle(SIGBUS, leap, 0);
    for (volatile int i = 0; i < 5; i++) {
        for (volatile int j = 0; j < 10; j++)
            if (sigsetjmp(back, 1) == 0) attempt(i);
    }
    puts("survived");
    return PASS;
}
