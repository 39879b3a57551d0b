// SIGTRAP: int3, and single-stepping oneself by the trap flag, over ordinary instructions and over a call into
// the kernel (whose own instructions must not be stepped).
//#Expect-stdout: int3 30
//#Expect-stdout: stepped some
//#Expect-stdout: stepped over 20 calls
#include "common.h"
#include <ucontext.h>

static volatile int traps, outside;

static void count(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si;
    ucontext_t *uc = ctx;
    if ((uint64_t)uc->uc_mcontext.gregs[REG_RIP] >> 47) outside++;
    traps++;
}

static inline void set_trap(void) {
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp" : : : "cc", "memory");
}

static inline void clear_trap(void) {
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandl $~0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp" : : : "cc", "memory");
}

int main(void) {
    handle(SIGTRAP, count, 0);
    for (int i = 0; i < 30; i++) __asm__ volatile("int3");
    printf("int3 %d\n", traps);

    traps = 0;
    set_trap();
    __asm__ volatile("nop\n\tnop\n\tnop\n\tnop");
    clear_trap();
    CHECK(traps >= 5);
    puts("stepped some");

    for (int i = 0; i < 20; i++) {
        traps = 0;
        set_trap();
        long r;
        __asm__ volatile("mov $39, %%eax\n\tsyscall\n\tnop" : "=a"(r) : : "rcx", "r11", "memory", "cc");
        clear_trap();
        CHECK_EQ(r, getpid());
        CHECK(traps >= 4);
    }
    // A trap shown at a kernel address would be the kernel's own code stepped.
    CHECK_EQ(outside, 0);
    puts("stepped over 20 calls");
    return PASS;
}
