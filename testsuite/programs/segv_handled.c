// SIGSEGV handled: address and code are right, the handler may repair and return, or jump out, again and again.
//#Expect-stdout: repaired 20
//#Expect-stdout: jumped out 100
//#Expect-stdout: read-only refused
#include "common.h"

static char *page;
static sigjmp_buf back;
static volatile int repairs;
static void *volatile where;
static volatile int code;

static void repair(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)ctx;
    CHECK(si->si_addr == page + 100);
    CHECK_EQ(si->si_code, SEGV_ACCERR);
    CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
    repairs++;
}

static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)ctx;
    where = si->si_addr;
    code = si->si_code;
    siglongjmp(back, 1);
}

int main(void) {
    page = SYS(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    handle(SIGSEGV, repair, 0);
    for (int i = 0; i < 20; i++) {
        CHECK(mprotect(page, 4096, i % 2 ? PROT_NONE : PROT_READ) == 0);
        ((volatile char *)page)[100] = (char)i;
        CHECK_EQ(page[100], (char)i);
    }
    printf("repaired %d\n", repairs);

    handle(SIGSEGV, leap, 0);
    char *hole = SYS(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(munmap(hole, 4096) == 0);
    volatile int n = 0;
    for (int i = 0; i < 100; i++) {
        if (sigsetjmp(back, 1) == 0) {
            if (i % 2) (void)*(volatile char *)(hole + i);
            else *(volatile int *)(intptr_t)(i * 8) = 1;
            CHECK(!"reached");
        }
        CHECK_EQ(code, SEGV_MAPERR);
        CHECK_EQ(where, i % 2 ? hole + i : (char *)(intptr_t)(i * 8));
        n++;
    }
    printf("jumped out %d\n", n);

    if (sigsetjmp(back, 1) == 0) {
        // The program's own text.
        *(volatile char *)(uintptr_t)&main = 0;
        CHECK(!"reached");
    }
    CHECK(where == (void *)&main && code == SEGV_ACCERR);
    puts("read-only refused");
    return PASS;
}
