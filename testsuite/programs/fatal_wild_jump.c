// An unhandled jump to a kernel-half address kills the process, and only the process.
//#Signal: SEGV
//#Expect-stdout: before
#include "common.h"

int main(void) {
    puts("before");
    fflush(stdout);
    ((void (*)(void))0xffffe90000001000)();
    return PASS;
}
