// mmap, mprotect, munmap, mremap, fixed mappings, files, msync, mincore: what a process may do to its map.
//#Expect-stdout: anonymous
//#Expect-stdout: protected
//#Expect-stdout: moved
//#Expect-stdout: file
//#Expect-stdout: fixed
#include "common.h"

static sigjmp_buf back;
static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    siglongjmp(back, 1);
}

static int faults(volatile char *p, int write) {
    if (sigsetjmp(back, 1)) return 1;
    if (write) *p = 1;
    else (void)*p;
    return 0;
}

int main(void) {
    handle(SIGSEGV, leap, 0);
    size_t size = 64 * 4096;
    char *p = SYS(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (size_t i = 0; i < size; i += 512) CHECK_EQ(p[i], 0);
    memset(p, 7, size);
    CHECK(munmap(p + 8 * 4096, 4096) == 0);
    CHECK(faults(p + 8 * 4096, 0) && !faults(p + 7 * 4096 + 4095, 0) && !faults(p + 9 * 4096, 0));
    puts("anonymous");
    for (int i = 0; i < 50; i++) {
        CHECK(mprotect(p, 4096, PROT_NONE) == 0 && faults(p, 0));
        CHECK(mprotect(p, 4096, PROT_READ) == 0 && !faults(p, 0) && faults(p, 1));
        CHECK(mprotect(p, 4096, PROT_READ | PROT_WRITE) == 0 && !faults(p, 1));
    }
    CHECK(mprotect((void *)0xffffffff81000000, 4096, PROT_READ) == -1);
    CHECK(munmap((void *)0xffffffff81000000, 4096) == -1);
    puts("protected");
    char *q = SYS(mremap(p + 16 * 4096, 16 * 4096, 32 * 4096, MREMAP_MAYMOVE));
    CHECK(q[0] == 7 && q[16 * 4096 - 1] == 7 && q[16 * 4096] == 0);
    char *target = SYS(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(mremap(q, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
    CHECK(target[17] == 7 && faults(q, 0));
    puts("moved");
    const char *name = tmp_path("mmap");
    int fd = SYS(open(name, O_RDWR | O_CREAT | O_TRUNC, 0600));
    CHECK(ftruncate(fd, 10 * 4096) == 0);
    char *s = SYS(mmap(NULL, 10 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    char *r = SYS(mmap(NULL, 10 * 4096, PROT_READ, MAP_PRIVATE, fd, 0));
    for (int i = 0; i < 10; i++) s[i * 4096 + i] = (char)('a' + i);
    CHECK(msync(s, 10 * 4096, MS_SYNC) == 0);
    for (int i = 0; i < 10; i++) {
        char c;
        CHECK(pread(fd, &c, 1, i * 4096 + i) == 1 && c == 'a' + i);
        CHECK_EQ(r[i * 4096 + i], c);
    }
    CHECK(pwrite(fd, "Z", 1, 4096) == 1 && s[4096] == 'Z');
    CHECK(faults(r, 1));
    unsigned char core[10];
    CHECK(mincore(s, 10 * 4096, core) == 0 && (core[1] & 1));
    close(fd);
    unlink(name);
    puts("file");
    char *fixed = SYS(mmap((void *)0x200000000000, 8192, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    CHECK(fixed == (void *)0x200000000000 && !faults(fixed, 1));
    CHECK(mmap(fixed, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED &&
          errno == EEXIST);
    CHECK(mmap((void *)0xffff800000000000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
              MAP_FAILED &&
          errno == ENOMEM);
    puts("fixed");
    return PASS;
}
