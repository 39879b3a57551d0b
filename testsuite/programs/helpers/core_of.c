// core_of PROGRAM: runs it with core dumps on, then lets gdb read the core. Ends with 42 if all of that worked.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    int fd = open("/proc/sys/kernel/core_pattern", O_WRONLY);
    if (fd < 0 || write(fd, "/tmp/core", 9) != 9) return perror("core_pattern"), 3;
    close(fd);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit rl = {RLIM_INFINITY, RLIM_INFINITY};
        setrlimit(RLIMIT_CORE, &rl);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    int status;
    waitpid(pid, &status, 0);
    if (!WIFSIGNALED(status)) return printf("status %x\n", status), 4;
    printf("%s: signal %d\n", WCOREDUMP(status) ? "core dumped" : "no core", WTERMSIG(status));
    fflush(stdout);
    // Some kernels append the pid on their own.
    char name[64] = "/tmp/core";
    if (access(name, R_OK) != 0) snprintf(name, sizeof name, "/tmp/core.%d", pid);
    if ((pid = fork()) == 0) {
        setenv("UKL_EXPECT_RING", "3", 1);
        execlp("gdb", "gdb", "-nx", "-batch", "-ex", "backtrace", "-ex", "print number", "-ex", "info registers cs", "-ex",
               "info threads", argv[1], name, NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    printf("gdb: exit %d\n", WEXITSTATUS(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 42 : 5;
}
