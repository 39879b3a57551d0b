// Processes allocate, touch, fork and free at once, near the limit of the machine. The stress test, whose machine is
// short of memory anyway, and the build host are spared.
//#Libs: -pthread
//#Timeout: 180
//#Expect-stdout: 6 workers done
#include "common.h"
#include <sys/sysinfo.h>

enum { WORKERS = 6 };

// Where all workers and their parent meet, in memory that they share.
static pthread_barrier_t *all_have_it;

static size_t free_memory(void) {
    struct sysinfo si;
    CHECK(sysinfo(&si) == 0);
    return si.freeram * si.mem_unit;
}

// The first round takes as much as is given, the others a few megabytes.
static void work(unsigned seed, size_t size) {
    for (int round = 0; round < 6; round++) {
        char *p = SYS(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        for (size_t i = 0; i < size; i += 4096) p[i] = (char)(seed + (i >> 12));
        if (round == 0) {
            pthread_barrier_wait(all_have_it);
            pthread_barrier_wait(all_have_it);
        }
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
        size = (size_t)(4 + seed % 5) << 20;
    }
}

int main(void) {
    all_have_it = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    pthread_barrierattr_t attr;
    PT(pthread_barrierattr_init(&attr));
    PT(pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED));
    PT(pthread_barrier_init(all_have_it, &attr, WORKERS + 1));
    // Each worker's child makes another half of it its own. A fifth is left for the kernel and for page tables.
    size_t before = free_memory(), size = 8 << 20;
    int all = in_guest() && !in_storm();
    if (all) size = (before / 5 * 4 / WORKERS * 2 / 3) & ~4095ul;
    pid_t pid[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        pid[i] = SYS(fork());
        if (pid[i] == 0) {
            work((unsigned)i, size);
            _exit(0);
        }
    }
    pthread_barrier_wait(all_have_it);
    // The workers hold 53 % of it; page cache that was dropped meanwhile is free memory, too.
    if (all) CHECK(free_memory() < before / 4 * 3);
    pthread_barrier_wait(all_have_it);
    for (int i = 0; i < WORKERS; i++) expect_exit(pid[i], 0);
    puts("6 workers done");
    return PASS;
}
