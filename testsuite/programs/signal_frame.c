// What a handler sees and may change in its frame: registers of the interrupted code, the code segment (an ordinary
// one in either ring is not promised, but what is shown has to be accepted back), rip and rax as the program goes on.
//#Expect-stdout: rip moved
//#Expect-stdout: registers kept
//#Expect-stdout: handler returned 300 times
#include "common.h"
#include <ucontext.h>

static volatile int times;

static void skip(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si;
    ucontext_t *uc = ctx;
    // ud2 is two bytes.
    uc->uc_mcontext.gregs[REG_RIP] += 2;
    uc->uc_mcontext.gregs[REG_RAX] = 4711;
    times++;
}

static void nothing(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    times++;
}

int main(void) {
    handle(SIGILL, skip, 0);
    long rax;
    __asm__ volatile("ud2" : "=a"(rax) : "a"(1) : "memory");
    CHECK_EQ(rax, 4711);
    puts("rip moved");

    // Every register but rsp holds a pattern over a fault.
    long out[14];
    __asm__ volatile(
        "push %%rbp\n\t"
        "push %%rbx\n\t"
        "push %0\n\t"
        "mov $0x1111, %%rbx\n\tmov $0x2222, %%rcx\n\tmov $0x3333, %%rdx\n\tmov $0x4444, %%rsi\n\t"
        "mov $0x5555, %%rdi\n\tmov $0x6666, %%rbp\n\tmov $0x7777, %%r8\n\tmov $0x8888, %%r9\n\t"
        "mov $0x9999, %%r10\n\tmov $0xaaaa, %%r11\n\tmov $0xbbbb, %%r12\n\tmov $0xcccc, %%r13\n\t"
        "mov $0xdddd, %%r14\n\tmov $0xeeee, %%r15\n\t"
        "ud2\n\t"
        "pop %%rax\n\t"
        "mov %%rbx, (%%rax)\n\tmov %%rcx, 8(%%rax)\n\tmov %%rdx, 16(%%rax)\n\tmov %%rsi, 24(%%rax)\n\t"
        "mov %%rdi, 32(%%rax)\n\tmov %%rbp, 40(%%rax)\n\tmov %%r8, 48(%%rax)\n\tmov %%r9, 56(%%rax)\n\t"
        "mov %%r10, 64(%%rax)\n\tmov %%r11, 72(%%rax)\n\tmov %%r12, 80(%%rax)\n\tmov %%r13, 88(%%rax)\n\t"
        "mov %%r14, 96(%%rax)\n\tmov %%r15, 104(%%rax)\n\t"
        "pop %%rbx\n\t"
        "pop %%rbp\n\t"
        :
        : "a"(out)
        : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    for (int i = 0; i < 14; i++) CHECK_EQ(out[i], 0x1111l * (i + 1));
    puts("registers kept");

    times = 0;
    handle(SIGUSR1, nothing, 0);
    for (int i = 0; i < 300; i++) raise(SIGUSR1);
    printf("handler returned %d times\n", times);
    return PASS;
}
