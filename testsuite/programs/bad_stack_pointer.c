// The stack pointer points nowhere, at unmapped kernel-half memory or at a noncanonical address when a push, an interrupt or a
// system call comes: the process dies of SIGSEGV (or its handler runs on the alternate stack), the kernel does not.
//#Expect-stdout: pushes 5
//#Expect-stdout: spins 5
//#Expect-stdout: calls 5
//#Expect-stdout: fatal 5
#include "common.h"

static sigjmp_buf back;
static const uintptr_t places[] = {0x1000, 0xffffe90000001000, 0x0000900000000000, 0xfffffffffffff000, 0};

static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    siglongjmp(back, 1);
}

static void push_at(uintptr_t sp) {
    __asm__ volatile("mov %%rsp, %%rbx\n\tmov %0, %%rsp\n\tpush %%rax\n\tmov %%rbx, %%rsp" : : "r"(sp) : "rbx", "memory");
}

// Only interrupts use the stack here, for several timer ticks. The program must survive that.
static void spin_at(uintptr_t sp) {
    __asm__ volatile(
        "mov %%rsp, %%rbx\n\tmov %0, %%rsp\n\tmov $30000000, %%ecx\n\t"
        "1: dec %%ecx\n\tjnz 1b\n\t"
        "mov %%rbx, %%rsp"
        : : "r"(sp) : "rbx", "rcx", "memory", "cc");
}

// A raw `syscall` does not touch the stack, so this is legal and returns the call's result. If the rewriter has turned
// the site into a call, which pushes, then SIGSEGV is acceptable. A crash of the kernel is not.
static long call_at(uintptr_t sp) {
    long r;
    __asm__ volatile(
        "mov %%rsp, %%rbx\n\tmov %1, %%rsp\n\tmov $39, %%eax\n\tsyscall\n\tmov %%rbx, %%rsp"
        : "=&a"(r) : "r"(sp) : "rbx", "rcx", "r11", "memory", "cc");
    return r;
}

int main(void) {
    stack_t st = {.ss_sp = malloc(65536), .ss_size = 65536};
    CHECK(sigaltstack(&st, NULL) == 0);
    handle(SIGSEGV, leap, SA_ONSTACK);
    handle(SIGBUS, leap, SA_ONSTACK);
    volatile int n = 0;
    for (volatile int i = 0; i < 5; i++) {
        if (sigsetjmp(back, 1) == 0) {
            push_at(places[i]);
            CHECK(!"reached");
        }
        n++;
    }
    printf("pushes %d\n", n);
    for (n = 0; n < 5; n++) spin_at(places[n]);
    printf("spins %d\n", n);
    for (n = 0; n < 5; n++)
        if (sigsetjmp(back, 1) == 0) CHECK_EQ(call_at(places[n]), getpid());
    printf("calls %d\n", n);
    fflush(stdout);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    for (n = 0; n < 5; n++) {
        pid_t pid = SYS(fork());
        if (pid == 0) {
            push_at(places[n]);
            _exit(1);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
        CHECK(WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
    }
    printf("fatal %d\n", n);
    return PASS;
}
