// An ordinary program that tries every way to look into another process or to change it:
//   influence PID ADDRESS     exits with the number of ways that work; ADDRESS is of 8 bytes that say "original"
//   influence parent PROGRAM  drops its privileges, and starts PROGRAM, which may ask to be traced by it
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static int works;

static void tell(const char *way, int worked) {
    printf("%s: %s\n", way, worked ? "works" : strerrorname_np(errno));
    works += worked;
}

// Whether a file of the process can be opened and has something in it.
static int can_read(const char *pid, const char *name) {
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
    int fd = open(path, O_RDONLY);
    if (fd == -1) return 0;
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    return n > 0;
}

static int attach(pid_t pid, int request) {
    int status;
    if (ptrace(request, pid, NULL, NULL) == -1) return 0;
    if (request == PTRACE_SEIZE) ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
    if (waitpid(pid, &status, __WALL) != pid) abort();
    ptrace(PTRACE_DETACH, pid, NULL, NULL);
    return 1;
}

static int open_memory(const char *pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/mem", pid);
    int fd = open(path, O_RDWR);
    if (fd != -1) close(fd);
    return fd != -1;
}

static int follow(const char *pid, const char *name) {
    char path[64], target[256];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
    return readlink(path, target, sizeof target) > 0;
}

static int parent(const char *program) {
    pid_t pid = fork();
    if (pid == 0) {
        execl(program, program, "traceme", NULL);
        _exit(errno);
    }
    if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)) return 90;
    int status;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return 91;
    return WEXITSTATUS(status);
}

int main(int argc, char **argv) {
    if (argc != 3) return 92;
    if (strcmp(argv[1], "parent") == 0) return parent(argv[2]);
    const char *name = argv[1];
    pid_t pid = atoi(name);
    char *address = (char *)strtoul(argv[2], NULL, 16), bytes[8] = "original";
    struct iovec local = {bytes, sizeof bytes}, remote = {address, sizeof bytes};
    struct rlimit limit;

    tell("PTRACE_ATTACH", attach(pid, PTRACE_ATTACH));
    tell("PTRACE_SEIZE", attach(pid, PTRACE_SEIZE));
    tell("process_vm_readv", process_vm_readv(pid, &local, 1, &remote, 1, 0) == sizeof bytes);
    tell("process_vm_writev", process_vm_writev(pid, &local, 1, &remote, 1, 0) == sizeof bytes);
    tell("/proc/PID/mem", open_memory(name));
    tell("/proc/PID/maps", can_read(name, "maps"));
    tell("/proc/PID/auxv", can_read(name, "auxv"));
    tell("/proc/PID/environ", can_read(name, "environ"));
    tell("/proc/PID/syscall", can_read(name, "syscall"));
    tell("/proc/PID/personality", can_read(name, "personality"));
    tell("/proc/PID/exe", follow(name, "exe"));
    tell("/proc/PID/fd/1", follow(name, "fd/1"));
    int pidfd = syscall(SYS_pidfd_open, pid, 0);
    tell("pidfd_getfd", syscall(SYS_pidfd_getfd, pidfd, 1, 0) >= 0);
    tell("kcmp", syscall(SYS_kcmp, pid, pid, KCMP_VM, 0, 0) == 0);
    void *head;
    size_t size;
    tell("get_robust_list", syscall(SYS_get_robust_list, pid, &head, &size) == 0);
    limit.rlim_cur = limit.rlim_max = 0;
    tell("prlimit", prlimit(pid, RLIMIT_MSGQUEUE, &limit, NULL) == 0);
    tell("sigqueue", sigqueue(pid, SIGWINCH, (union sigval){.sival_ptr = address}) == 0);
    return works;
}
