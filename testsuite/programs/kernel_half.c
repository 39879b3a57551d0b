// Reads and writes of unmapped kernel-half and of noncanonical addresses: SIGSEGV with the address (page fault) or
// without one (general protection), and nothing worse.
//#Expect-stdout: 200 faults
#include "common.h"

static sigjmp_buf back;
static void *volatile where;
static volatile int code;

static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)ctx;
    where = si->si_addr;
    code = si->si_code;
    siglongjmp(back, 1);
}

int main(void) {
    handle(SIGSEGV, leap, 0);
    static const struct {
        uintptr_t address;
        int canonical;
    } places[] = {
        {0xffffe90000001000, 1}, {0xffffe90000001ff8, 1}, {0xfffffffffffff008, 1},
        {0x0000800000000000, 0}, {0xdead000000000100, 0},
    };
    volatile int faults = 0;
    for (volatile int round = 0; round < 20; round++)
        for (volatile int i = 0; i < 5; i++)
            for (volatile int write = 0; write < 2; write++) {
                volatile long *p = (volatile long *)places[i].address;
                if (sigsetjmp(back, 1) == 0) {
                    if (write) *p = 1;
                    else (void)*p;
                    CHECK(!"reached");
                }
                if (places[i].canonical) CHECK(where == (void *)p);
                else CHECK(code == SI_KERNEL && where == NULL);
                faults++;
            }
    printf("%d faults\n", faults);
    return PASS;
}
