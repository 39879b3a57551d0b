// A page shared with a process at the other ring: each has it under its own protection, futexes and pipes between the two
// work, and what the kernel maps for one does not leak into the other.
//#Helper: sharer
//#Expect-stdout: 500 turns
//#Expect-stdout: sharer: exit 0
#include "common.h"
#include <linux/futex.h>

int main(void) {
    int fd = SYS(memfd_create("shared", 0));
    CHECK(ftruncate(fd, 1 << 16) == 0);
    int *word = SYS(mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    fflush(stdout);
    char number[16];
    snprintf(number, sizeof number, "%d", fd);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        setenv("UKL_EXPECT_RING", "3", 1);
        execl(helper("sharer"), "sharer", number, NULL);
        _exit(99);
    }
    // Even numbers are ours to raise, odd ones the sharer's. Each also writes a page nobody had touched.
    int turns = 0;
    for (; turns < 500; turns++) {
        int seen;
        while ((seen = __atomic_load_n(word, __ATOMIC_SEQ_CST)) != 2 * turns) {
            struct timespec ts = {10, 0};
            syscall(SYS_futex, word, FUTEX_WAIT, seen, &ts, NULL, 0);
        }
        if (turns > 0) CHECK_EQ(word[turns * 16 % 16384 + 2], turns - 1);
        word[turns * 16 % 16384 + 1] = turns;
        __atomic_store_n(word, 2 * turns + 1, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
    printf("%d turns\n", turns);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    printf("sharer: exit %d\n", WEXITSTATUS(status));
    return PASS;
}
