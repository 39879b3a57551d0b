// An unhandled SIGFPE kills the process, and only the process.
//#Signal: FPE
//#Expect-stdout: before
#include "common.h"

int main(void) {
    puts("before");
    fflush(stdout);
    volatile int one = 1, zero = 0;
    printf("%d\n", one / zero);
    return PASS;
}
