// An unhandled call through NULL kills the process, and only the process.
//#Signal: SEGV
//#Expect-stdout: before
#include "common.h"

static void (*volatile nothing)(void);

int main(void) {
    puts("before");
    fflush(stdout);
    nothing();
    return PASS;
}
