// An unhandled SIGABRT kills the process, and only the process.
//#Signal: ABRT
//#Expect-stdout: before
#include "common.h"

int main(void) {
    puts("before");
    fflush(stdout);
    abort();
    return PASS;
}
