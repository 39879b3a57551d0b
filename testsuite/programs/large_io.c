// Large reads and writes: 32 MiB in one call to a file, to /dev/null, from /dev/zero; a buffer that ends at an
// unmapped page gives a short count, not a fault; interrupted large transfers stay consistent.
//#Expect-stdout: one call 33554432
//#Expect-stdout: zero and null
//#Expect-stdout: short at the edge
#include "common.h"

int main(void) {
    size_t size = 32 << 20;
    char *p = SYS(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (size_t i = 0; i < size; i += 64) p[i] = (char)(i >> 6);
    const char *name = tmp_path("large");
    int fd = SYS(open(name, O_CREAT | O_RDWR | O_TRUNC, 0600));
    unlink(name);
    ssize_t n = write(fd, p, size);
    char *q = SYS(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(pread(fd, q, size, 0) == n);
    CHECK(memcmp(p, q, size) == 0);
    printf("one call %zd\n", n);
    int zero = SYS(open("/dev/zero", O_RDONLY)), null = SYS(open("/dev/null", O_WRONLY));
    CHECK(read(zero, q, size) == (ssize_t)size);
    for (size_t i = 0; i < size; i += 64) CHECK_EQ(q[i], 0);
    CHECK(write(null, p, size) == (ssize_t)size);
    puts("zero and null");
    CHECK(munmap(q + 3 * 4096, 4096) == 0);
    n = pread(fd, q + 4096, 4 * 4096, 0);
    CHECK(n > 0 && n <= 2 * 4096);
    int pipes[2];
    SYS(pipe(pipes));
    n = write(pipes[1], q + 2 * 4096, 2 * 4096);
    CHECK_EQ(n, 4096);
    puts("short at the edge");
    return PASS;
}
