// MADV_DONTNEED, MADV_FREE, huge pages, MADV_POPULATE_WRITE, over fork as well.
//#Expect-stdout: zeroed
//#Expect-stdout: huge ok
//#Expect-stdout: populated
#include "common.h"
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int main(void) {
    size_t size = 1 << 20;
    char *p = SYS(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (int i = 0; i < 20; i++) {
        memset(p, i + 1, size);
        CHECK(madvise(p, size, MADV_DONTNEED) == 0);
        for (size_t j = 0; j < size; j += 4096) CHECK_EQ(p[j], 0);
    }
    memset(p, 3, size);
    CHECK(madvise(p, size, MADV_FREE) == 0);
    for (size_t j = 0; j < size; j += 4096) CHECK(p[j] == 3 || p[j] == 0);
    puts("zeroed");
    size_t huge = 8 << 20;
    char *h = SYS(mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    // A kernel without huge pages says EINVAL; the memory has to work in either case.
    if (madvise(h, huge, MADV_HUGEPAGE) == -1) CHECK(errno == EINVAL && !in_guest());
    for (size_t j = 0; j < huge; j += 4096) h[j] = (char)(j >> 12);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        for (size_t j = 0; j < huge; j += 8192) h[j] = 99;
        CHECK(munmap(h + (2 << 20) + 4096, 4096) == 0);
        CHECK(mprotect(h + (4 << 20), 4096, PROT_READ) == 0);
        for (size_t j = 4096; j < 2 << 20; j += 8192) CHECK_EQ(h[j], (char)(j >> 12));
        _exit(1);
    }
    expect_exit(pid, 1);
    for (size_t j = 0; j < huge; j += 4096) CHECK_EQ(h[j], (char)(j >> 12));
    CHECK(mprotect(h + (2 << 20), 4096, PROT_NONE) == 0);
    CHECK(madvise(h, huge, MADV_NOHUGEPAGE) == 0 || errno == EINVAL);
    puts("huge ok");
    CHECK(madvise(p, size, MADV_DONTNEED) == 0);
    CHECK(madvise(p, size, MADV_POPULATE_WRITE) == 0);
    unsigned char core[256];
    CHECK(mincore(p, size, core) == 0);
    for (int i = 0; i < 256; i++) CHECK(core[i] & 1);
    puts("populated");
    return PASS;
}
