// process_vm_readv/writev and /proc/PID/mem between parent and child: the kernel reaches into another process's
// pages, whatever rings the two are at.
//#Expect-stdout: read 65536
//#Expect-stdout: wrote 65536
//#Expect-stdout: by file too
//#Expect-stdout: kernel half refused
#include "common.h"
#include <sys/uio.h>

static char area[65536];

int main(void) {
    int gate[2];
    SYS(pipe(gate));
    pid_t pid = SYS(fork());
    if (pid == 0) {
        memset(area, 'c', sizeof area);
        CHECK(write(gate[1], "r", 1) == 1);
        while (((volatile char *)area)[65535] != 'w') usleep(1000);
        for (size_t i = 0; i < sizeof area; i++) CHECK_EQ(area[i], 'w');
        CHECK(write(gate[1], "s", 1) == 1);
        while (((volatile char *)area)[100] != 'm') usleep(1000);
        _exit(8);
    }
    char c;
    CHECK(read(gate[0], &c, 1) == 1);
    static char copy[65536];
    struct iovec local = {copy, sizeof copy}, remote = {area, sizeof area};
    ssize_t n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
    CHECK_EQ(n, 65536);
    for (size_t i = 0; i < sizeof copy; i++) CHECK_EQ(copy[i], 'c');
    CHECK_EQ(area[0], 0);
    printf("read %zd\n", n);
    memset(copy, 'w', sizeof copy);
    n = process_vm_writev(pid, &local, 1, &remote, 1, 0);
    printf("wrote %zd\n", n);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int fd = SYS(open(path, O_RDWR));
    CHECK(pread(fd, &c, 1, (off_t)(uintptr_t)(area + 5)) == 1 && c == 'w');
    remote = (struct iovec){(void *)0xffffffff81000000, 64};
    local.iov_len = 64;
    CHECK(process_vm_readv(pid, &local, 1, &remote, 1, 0) == -1 && errno == EFAULT);
    CHECK(read(gate[0], &c, 1) == 1);
    CHECK(pwrite(fd, "m", 1, (off_t)(uintptr_t)(area + 100)) == 1);
    expect_exit(pid, 8);
    puts("by file too");
    puts("kernel half refused");
    return PASS;
}
