// An unhandled SIGSEGV kills the process, and only the process.
//#Signal: SEGV
//#Expect-stdout: before
#include "common.h"

int main(void) {
    puts("before");
    fflush(stdout);
    *(volatile int *)16 = 1;
    return PASS;
}
