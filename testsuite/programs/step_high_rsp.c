// Single steps while the program's stack pointer has bit 63 set, which nothing uses as a stack meanwhile: each step is a
// SIGTRAP, which a handler on an alternate stack takes. The sign of the stack pointer does not make it a step of the
// kernel's.
//#Expect-stdout: all steps seen
#include "common.h"

#define INSTRUCTIONS 3  // those that are stepped with the odd stack pointer

static volatile int with_odd_pointer;

static void on_trap(int sig, siginfo_t *info, void *context) {
    (void)sig, (void)info;
    if (((ucontext_t *)context)->uc_mcontext.gregs[REG_RSP] < 0) with_odd_pointer++;
}

int main(void) {
    stack_t stack = {.ss_sp = SYS(mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
                     .ss_size = 65536};
    SYS(sigaltstack(&stack, NULL));
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    SYS(sigaction(SIGTRAP, &action, NULL));
    for (int round = 1; round <= 3; round++) {
        __asm__ volatile(
            "mov $1, %%ecx; shl $63, %%rcx;"
            "sub $128, %%rsp;"
            "pushfq; orl $0x100, (%%rsp); popfq;"
            "add $128, %%rsp;"
            "xor %%rcx, %%rsp;"
            "nop; nop;"
            "xor %%rcx, %%rsp;"
            "sub $128, %%rsp;"
            "pushfq; andl $~0x100, (%%rsp); popfq;"
            "add $128, %%rsp"
            ::: "rcx", "memory", "cc");
        CHECK_EQ(with_odd_pointer, INSTRUCTIONS * round);
    }
    puts("all steps seen");
    return PASS;
}
