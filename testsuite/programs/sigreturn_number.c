// rt_sigreturn by a `syscall` whose number is not known when the program is linked: all registers of the interrupted
// code come back, among them those that a function call preserves, which the handler has changed.
//#Expect-stdout: rbx and r12 to r15 came back
#include "common.h"

struct kernel_sigaction {
    void (*handler)(void);
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask;
};

#define SA_RESTORER 0x04000000
long number_of_sigreturn = SYS_rt_sigreturn;  // not const: it could be anything
int handled;

__attribute__((naked)) static void restorer(void) {
    __asm__("mov number_of_sigreturn(%rip), %rax; syscall");
}

__attribute__((naked)) static void handler(void) {
    __asm__("incl handled(%rip); mov $1, %ebx; mov $2, %r12d; mov $3, %r13d; mov $4, %r14d; mov $5, %r15d; ret");
}

int main(void) {
    struct kernel_sigaction action = {handler, SA_SIGINFO | SA_RESTORER, restorer, 0};
    CHECK_EQ(syscall(SYS_rt_sigaction, SIGUSR1, &action, NULL, 8), 0);
    long pid = getpid();
    for (int i = 1; i <= 3; i++) {
        unsigned long seen[5];
        long result;
        __asm__ volatile(
            "mov $0x1111, %%rbx; mov $0x2222, %%r12; mov $0x3333, %%r13; mov $0x4444, %%r14; mov $0x5555, %%r15;"
            "mov $62, %%eax; syscall;"
            "mov %%rbx, 0(%[seen]); mov %%r12, 8(%[seen]); mov %%r13, 16(%[seen]); mov %%r14, 24(%[seen]);"
            "mov %%r15, 32(%[seen])"
            : "=&a"(result)
            : "D"(pid), "S"((long)SIGUSR1), [seen] "r"(seen)
            : "rbx", "r12", "r13", "r14", "r15", "rcx", "r11", "memory");
        CHECK_EQ(result, 0);
        CHECK_EQ(handled, i);
        for (int k = 0; k < 5; k++) CHECK_EQ(seen[k], 0x1111 * (k + 1));
    }
    puts("rbx and r12 to r15 came back");
    return PASS;
}
