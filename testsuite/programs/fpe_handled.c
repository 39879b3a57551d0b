// SIGFPE: integer division and unmasked SSE and x87 exceptions, each with its code.
//#Libs: -lm
//#Expect-stdout: integer 50
//#Expect-stdout: sse ok
//#Expect-stdout: x87 ok
#include "common.h"
#include <cpuid.h>
#include <fenv.h>

static sigjmp_buf back;
static volatile int code;

static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)ctx;
    code = si->si_code;
    siglongjmp(back, 1);
}

// Whether the processor is QEMU's own: its hypervisor signature says so.
static int emulated(void) {
    unsigned a, b, c, d;
    __cpuid(0x40000000, a, b, c, d);
    return b == 0x54474354 && c == 0x43544743;  // "TCGTCGTCGTCG"
}

int main(void) {
    handle(SIGFPE, leap, 0);
    volatile int one = 1, zero = 0, n = 0;
    for (int i = 0; i < 50; i++) {
        if (sigsetjmp(back, 1) == 0) {
            volatile int r = one / zero;
            (void)r;
            CHECK(!"reached");
        }
        CHECK_EQ(code, FPE_INTDIV);
        n++;
    }
    printf("integer %d\n", n);

    if (sigsetjmp(back, 1) == 0) {
        unsigned csr = 0x1f80 & ~0x200u;  // unmask divide by zero
        __asm__ volatile("ldmxcsr %0" : : "m"(csr));
        volatile double d = 0.0, e = 1.0;
        d = e / d;
        // QEMU's emulation raises no SSE exceptions: the flag is set, the trap never comes, at any ring.
        __asm__ volatile("stmxcsr %0" : "=m"(csr));
        CHECK(csr & 4);
        CHECK(emulated());
        code = FPE_FLTDIV;
    }
    CHECK_EQ(code, FPE_FLTDIV);
    unsigned csr = 0x1f80;
    __asm__ volatile("ldmxcsr %0" : : "m"(csr));
    puts("sse ok");

    if (sigsetjmp(back, 1) == 0) {
        unsigned short cw = 0x37f & ~4;
        __asm__ volatile("fninit\n\tfldcw %0\n\tfld1\n\tfldz\n\tfdivrp\n\tfwait" : : "m"(cw) : "st");
        CHECK(!"reached");
    }
    CHECK_EQ(code, FPE_FLTDIV);
    __asm__ volatile("fninit");
    puts("x87 ok");
    return PASS;
}
