// SIGILL: ud2 and an undefined opcode, in the text and in fresh memory. The kernel writes its own BUG() with ud2 and
// must not take ours for it.
//#Expect-stdout: caught 60
#include "common.h"

static sigjmp_buf back;
static void *volatile where;

static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)ctx;
    CHECK_EQ(si->si_code, ILL_ILLOPN);
    where = si->si_addr;
    siglongjmp(back, 1);
}

int main(void) {
    handle(SIGILL, leap, 0);
    unsigned char *jit = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    volatile int n = 0;
    static const unsigned char bad[2][3] = {{0x0f, 0x0b, 0xc3}, {0x0f, 0xff, 0xc3}};
    for (int i = 0; i < 60; i++) {
        memcpy(jit, bad[i % 2], 3);
        if (sigsetjmp(back, 1) == 0) {
            if (i % 3) ((void (*)(void))(uintptr_t)jit)();
            else __asm__ volatile("ud2");
            CHECK(!"reached");
        }
        if (i % 3) CHECK(where == jit);
        n++;
    }
    printf("caught %d\n", n);
    return PASS;
}
