// An unhandled SIGTRAP kills the process, and only the process.
//#Signal: TRAP
//#Expect-stdout: before
#include "common.h"

int main(void) {
    puts("before");
    fflush(stdout);
    __asm__ volatile("int3");
    return PASS;
}
