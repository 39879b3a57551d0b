// mlockall and mlock: everything present, stack growth included, and fork and unlock afterwards.
//#Expect-stdout: locked
//#Expect-stdout: unlocked
#include "common.h"
#include <sys/resource.h>

int main(void) {
    struct rlimit rl = {RLIM_INFINITY, RLIM_INFINITY};
    int privileged = setrlimit(RLIMIT_MEMLOCK, &rl) == 0;
    CHECK(privileged || !in_guest());
    if (privileged) {
        CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
        unsigned char core[16];
        char *p = SYS(mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        CHECK(mincore(p, 16 * 4096, core) == 0);
        for (int i = 0; i < 16; i++) CHECK(core[i] & 1);
        volatile char frame[200000];
        for (size_t i = 0; i < sizeof frame; i += 4096) frame[i] = 1;
        pid_t pid = SYS(fork());
        if (pid == 0) {
            p[0] = 1;
            _exit(3);
        }
        expect_exit(pid, 3);
    }
    puts("locked");
    CHECK(munlockall() == 0);
    char *q = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(mlock(q, 4096) == 0 && munlock(q, 4096) == 0);
    puts("unlocked");
    return PASS;
}
