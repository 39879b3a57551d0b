// memfd with seals, shared by descriptor and mapping, huge offsets, sendfile from it.
//#Expect-stdout: sealed
//#Expect-stdout: shared
//#Expect-stdout: far out
#include "common.h"
#include <sys/sendfile.h>

int main(void) {
    int fd = SYS(memfd_create("test", MFD_ALLOW_SEALING));
    CHECK(ftruncate(fd, 1 << 20) == 0);
    char *p = SYS(mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    memset(p, 'x', 1 << 20);
    CHECK(munmap(p, 1 << 20) == 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) == 0);
    CHECK(write(fd, "y", 1) == -1 && errno == EPERM);
    CHECK(ftruncate(fd, 10) == -1 && errno == EPERM);
    CHECK(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EPERM);
    puts("sealed");
    fflush(stdout);
    int out = SYS(memfd_create("out", 0));
    pid_t pid = SYS(fork());
    if (pid == 0) {
        off_t at = 0;
        while (at < 1 << 20) SYS(sendfile(out, fd, &at, 1 << 20));
        _exit(1);
    }
    expect_exit(pid, 1);
    char *q = SYS(mmap(NULL, 1 << 20, PROT_READ, MAP_SHARED, out, 0));
    for (int i = 0; i < 1 << 20; i += 100) CHECK_EQ(q[i], 'x');
    puts("shared");
    off_t far = (off_t)1 << 40;
    char text[8] = "";
    CHECK(pwrite(out, "distant", 8, far) == 8);
    CHECK_EQ(SYS(lseek(out, 0, SEEK_END)), far + 8);
    CHECK(pread(out, text, 8, far) == 8 && strcmp(text, "distant") == 0);
    char *there = SYS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, out, far));
    CHECK(strcmp(there, "distant") == 0);
    puts("far out");
    return PASS;
}
