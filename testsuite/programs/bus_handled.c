// SIGBUS: reading and writing a file mapping beyond the end of the file, and truncation under a mapping.
//#Expect-stdout: beyond the end
//#Expect-stdout: after truncation
#include "common.h"

static sigjmp_buf back;
static void *volatile where;

static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)ctx;
    CHECK_EQ(si->si_code, BUS_ADRERR);
    where = si->si_addr;
    siglongjmp(back, 1);
}

int main(void) {
    handle(SIGBUS, leap, 0);
    int fd = SYS(memfd_create("short", 0));
    CHECK(ftruncate(fd, 4096) == 0);
    volatile char *p = SYS(mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    p[0] = 'a';
    for (volatile int i = 0; i < 10; i++) {
        if (sigsetjmp(back, 1) == 0) {
            if (i % 2) p[4096 + i] = 1;
            else (void)p[2 * 4096 + i];
            CHECK(!"reached");
        }
        CHECK(where == p + (i % 2 ? 4096 : 8192) + i);
    }
    puts("beyond the end");
    CHECK(ftruncate(fd, 0) == 0);
    if (sigsetjmp(back, 1) == 0) {
        (void)p[0];
        CHECK(!"reached");
    }
    CHECK(where == p);
    puts("after truncation");
    return PASS;
}
