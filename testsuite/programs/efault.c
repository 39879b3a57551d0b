// A system call given a pointer into the kernel half, to nothing or to protected memory says EFAULT: the program's
// ring makes no difference to what it may hand to the kernel.
//#Expect-stdout: kernel addresses refused
//#Expect-stdout: nothing refused
//#Expect-stdout: protected refused
#include "common.h"
#include <sys/uio.h>

static const uintptr_t kernel[] = {0xffffffff81000000, 0xffff888000001000, 0xffffe90000000000, 0x8000000000000000,
                                   0x00007fffffffffff, 0xfffffffffffffff0};

static void refuse(void *p, int fd[2]) {
    CHECK(write(fd[1], p, 16) == -1 && errno == EFAULT);
    CHECK(write(fd[1], "0123456789abcdef", 16) == 16);
    CHECK(read(fd[0], p, 16) == -1 && errno == EFAULT);
    char drain[16];
    // A pipe read that faulted has consumed nothing.
    CHECK(read(fd[0], drain, 16) == 16);
    struct iovec v = {p, 16};
    CHECK(writev(fd[1], &v, 1) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_clock_gettime, CLOCK_REALTIME, p) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_uname, p) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_rt_sigaction, SIGUSR1, p, NULL, 8) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, p, NULL, 8) == -1 && errno == EFAULT);
    CHECK(open(p, O_RDONLY) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_pipe2, p, 0) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_nanosleep, p, NULL) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_getcwd, p, 4096) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_execve, p, NULL, NULL) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_futex, (uintptr_t)p & ~3ul, 0, 0, NULL, NULL, 0) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_sysinfo, p) == -1 && errno == EFAULT);
}

int main(void) {
    int fd[2];
    SYS(pipe(fd));
    for (size_t i = 0; i < sizeof kernel / sizeof *kernel; i++) refuse((void *)kernel[i], fd);
    puts("kernel addresses refused");
    refuse((void *)8, fd);
    puts("nothing refused");
    refuse(SYS(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)), fd);
    puts("protected refused");
    return PASS;
}
