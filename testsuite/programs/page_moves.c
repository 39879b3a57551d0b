// The kernel moves and changes the program's pages under it: compaction, huge pages split and joined, soft-dirty bits
// cleared, text dropped from the cache, hugetlbfs. The contents stay.
//#Skip-host: asks the machine to move all its memory
//#Libs: -pthread
//#Timeout: 120
//#Expect-stdout: compacted
//#Expect-stdout: cleared
//#Expect-stdout: huge
#include "common.h"

static void put(const char *path, const char *text) {
    int fd = SYS(open(path, O_WRONLY));
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

// A line `NAME NUMBER` of a file.
static long number(const char *path, const char *name) {
    char line[256];
    long value = -1;
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    while (value < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0 && strchr(" :", line[strlen(name)]))
            value = atol(line + strlen(name) + 1);
    fclose(file);
    CHECK(value >= 0);
    return value;
}

static long events(const char *name) {
    return number("/proc/vmstat", name);
}

enum { PAGES = 4096 };
static char *area;
static int stop;

static void *work(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg;
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        seed = seed * 1103515245 + 12345;
        size_t page = (seed >> 8) % PAGES;
        // Word 0 says which page it is; the others count.
        CHECK_EQ(*(int *)(area + page * 4096), (int)page);
        __atomic_add_fetch((int *)(area + page * 4096 + 64), 1, __ATOMIC_RELAXED);
    }
    return arg;
}

int main(void) {
    // Linux disables huge pages on small machines unless they are requested.
    put("/sys/kernel/mm/transparent_hugepage/enabled", "madvise");
    area = SYS(mmap(NULL, PAGES * 4096l, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    madvise(area, PAGES * 4096l, MADV_HUGEPAGE);
    for (int i = 0; i < PAGES; i++) *(int *)(area + i * 4096l) = i;
    // Other programs may use all the memory, so that no huge pages are available.
    CHECK(in_storm() || number("/proc/self/smaps_rollup", "AnonHugePages") > 0);
    long scanned = events("compact_migrate_scanned"), dropped = events("drop_pagecache");
    long split = events("thp_split_pmd");
    pthread_t t[3];
    for (int i = 0; i < 3; i++) PT(pthread_create(&t[i], NULL, work, (void *)(intptr_t)(i + 1)));
    for (int i = 0; i < 5; i++) {
        put("/proc/sys/vm/compact_memory", "1");
        put("/proc/sys/vm/drop_caches", "3");
        // Splits the huge page that contains the address, then frees the small page.
        CHECK(mprotect(area + 4096l * (i * 512 + 100), 4096, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
        CHECK(mprotect(area + 4096l * (i * 512 + 100), 4096, PROT_READ | PROT_WRITE) == 0);
        sleep_ms(50);
    }
    CHECK(events("compact_migrate_scanned") > scanned);
    CHECK(events("drop_pagecache") >= dropped + 5);
    CHECK(in_storm() || events("thp_split_pmd") > split);
    puts("compacted");
    for (int i = 0; i < 10; i++) {
        put("/proc/self/clear_refs", i % 2 ? "4" : "1");
        sleep_ms(10);
    }
    stop = 1;
    for (int i = 0; i < 3; i++) PT(pthread_join(t[i], NULL));
    puts("cleared");
    put("/proc/sys/vm/nr_hugepages", "4");
    char *h = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    CHECK(h != MAP_FAILED || in_storm());
    if (h != MAP_FAILED) {
        memset(h, 7, 4 << 20);
        CHECK(number("/proc/self/smaps_rollup", "Private_Hugetlb") >= 4 << 10);
        pid_t pid = SYS(fork());
        if (pid == 0) {
            CHECK(h[(2 << 20) + 5] == 7);
            h[5] = 8;
            CHECK(munmap(h, 2 << 20) == 0);
            _exit(1);
        }
        expect_exit(pid, 1);
        CHECK(h[0] == 7 && h[5] == 7 && munmap(h, 4 << 20) == 0);
    }
    put("/proc/sys/vm/nr_hugepages", "0");
    puts("huge");
    return PASS;
}
