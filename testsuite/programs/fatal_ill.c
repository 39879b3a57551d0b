// An unhandled SIGILL kills the process, and only the process.
//#Signal: ILL
//#Expect-stdout: before
#include "common.h"

int main(void) {
    puts("before");
    fflush(stdout);
    __builtin_trap();
    return PASS;
}
