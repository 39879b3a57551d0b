// sharer FD: the ring-3 side of shared_rings.c.
#include "../common.h"
#include <linux/futex.h>

int main(int argc, char **argv) {
    if (argc != 2 || ring() != 3) return 90;
    int *word = SYS(mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[1]), 0));
    for (int turns = 0; turns < 500; turns++) {
        int seen;
        while ((seen = __atomic_load_n(word, __ATOMIC_SEQ_CST)) != 2 * turns + 1) {
            struct timespec ts = {10, 0};
            syscall(SYS_futex, word, FUTEX_WAIT, seen, &ts, NULL, 0);
        }
        CHECK_EQ(word[turns * 16 % 16384 + 1], turns);
        word[(turns + 1) * 16 % 16384 + 2] = turns;
        __atomic_store_n(word, 2 * turns + 2, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
    return 0;
}
