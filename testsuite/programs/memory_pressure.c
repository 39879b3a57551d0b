// Many processes and threads allocate, touch, fork and free at once, near the limit of a small machine.
//#Libs: -pthread
//#Timeout: 180
//#Expect-stdout: 6 workers done
#include "common.h"

static void work(unsigned seed) {
    for (int round = 0; round < 6; round++) {
        size_t size = (4 + seed % 5) << 20;
        char *p = SYS(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        for (size_t i = 0; i < size; i += 4096) p[i] = (char)(seed + (i >> 12));
        pid_t pid = SYS(fork());
        if (pid == 0) {
            for (size_t i = 0; i < size; i += 8192) {
                CHECK_EQ(p[i], (char)(seed + (i >> 12)));
                p[i] = 0;
            }
            _exit(0);
        }
        for (size_t i = 0; i < size; i += 4096) CHECK_EQ(p[i], (char)(seed + (i >> 12)));
        expect_exit(pid, 0);
        CHECK(munmap(p, size) == 0);
        seed = seed * 1103515245 + 12345;
    }
}

int main(void) {
    pid_t pid[6];
    for (int i = 0; i < 6; i++) {
        pid[i] = SYS(fork());
        if (pid[i] == 0) {
            work((unsigned)i);
            _exit(0);
        }
    }
    for (int i = 0; i < 6; i++) expect_exit(pid[i], 0);
    puts("6 workers done");
    return PASS;
}
