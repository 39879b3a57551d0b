// Unbounded recursion with nothing to catch it.
//#Signal: SEGV
//#Expect-stdout: before
#include "common.h"

static __attribute__((noinline)) long dig(volatile long n) {
    volatile char frame[2000];
    frame[0] = (char)n;
    return dig(n + 1) + frame[0];
}

int main(void) {
    puts("before");
    fflush(stdout);
    return (int)dig(0);
}
