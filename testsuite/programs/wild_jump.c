// Jumps, calls and returns to noncanonical, unmapped and non-executable addresses in either half: SIGSEGV in the
// program each time. 0xffffe900... is a hole in the kernel's map, 0xffff8880... its (never executable) direct map.
//#Expect-stdout: 9 places, 3 ways, 270 faults
#include "common.h"

static sigjmp_buf back;

static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    siglongjmp(back, 1);
}

static void by_jmp(uintptr_t to) {
    __asm__ volatile("jmp *%0" : : "r"(to) : "memory");
}
static void by_call(uintptr_t to) {
    __asm__ volatile("call *%0" : : "r"(to) : "memory");
}
static void by_ret(uintptr_t to) {
    __asm__ volatile("push %0\n\tret" : : "r"(to) : "memory");
}

int main(void) {
    static char data[64];
    handle(SIGSEGV, leap, 0);
    uintptr_t places[] = {
        0x0000800000000000, 0x00009abcdef01234, 0x8000000000000000, 0xffff7fffffffff00, 0xffffe90000001000,
        0xffff888000100000, 0xfffffffffffff000, 0x00007ffffffff000, (uintptr_t)data,
    };
    int n = sizeof places / sizeof *places;
    volatile int faults = 0;
    void (*ways[])(uintptr_t) = {by_jmp, by_call, by_ret};
    for (volatile int round = 0; round < 10; round++)
        for (volatile int i = 0; i < n; i++)
            for (volatile int w = 0; w < 3; w++) {
                if (sigsetjmp(back, 1) == 0) {
                    ways[w](places[i]);
                    CHECK(!"reached");
                }
                faults++;
            }
    printf("%d places, 3 ways, %d faults\n", n, faults);
    return PASS;
}
