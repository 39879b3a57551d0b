// An unhandled `hlt` kills the process with SIGSEGV, as C libraries count on when they find their heap corrupted. At
// ring 0 the processor itself would only wait for an interrupt and go on.
//#Signal: SEGV
//#Expect-stdout: before
#include "common.h"

int main(void) {
    puts("before");
    fflush(stdout);
    __asm__ volatile("hlt");
    puts("behind");
    return PASS;
}
