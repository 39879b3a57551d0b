// An unhandled SIGBUS kills the process, and only the process.
//#Signal: BUS
//#Expect-stdout: before
#include "common.h"

int main(void) {
    puts("before");
    fflush(stdout);
    // A page of a mapping beyond the end of its file.
    int fd = SYS(memfd_create("empty", 0));
    volatile char *p = SYS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0));
    (void)p[0];
    return PASS;
}
