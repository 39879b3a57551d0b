// Who may start ring-0 code, when the image lets anyone start its program. A copy of this program: root may exec it;
// without CAP_SYS_MODULE it is EPERM, from /tmp, from a memfd and by a raw execveat. The image's own file starts for
// anyone, but not under a seccomp filter, in a user namespace or with a debugger of the caller's. At ring 3 the mark is
// not there and everything simply starts. security_start is about images that do not say so.
//#Skip-host: needs to be root in a machine of its own
//#Alone: needs an image that is linked for it
//#CFlags: --ukl-start=anyone
//#Expect-stdout: root: ran
//#Expect-stdout: root, no CAP_SYS_MODULE: as it should
//#Expect-stdout: nobody, copy: as it should
//#Expect-stdout: nobody, memfd: as it should
//#Expect-stdout: nobody, the image's file: ran
//#Expect-stdout: nobody, under a debugger: as it should
//#Expect-stdout: nobody's debugger, attaching: as it should
//#Expect-stdout: nobody, with no new privileges: as it should
//#Expect-stdout: nobody, under a filter: as it should
//#Expect-stdout: an administrator, under a filter: as it should
//#Expect-stdout: nobody, in a user namespace: as it should
//#Expect-stdout: nobody, with a working directory that is shared: as it should
#include "common.h"
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

static char copy[128];
static int memfd;
static char self[256];

static void drop_module_cap(void) {
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    CHECK(prctl(PR_CAPBSET_DROP, CAP_SYS_MODULE) == 0);
    CHECK(syscall(SYS_capget, &h, d) == 0);
    unsigned bit = 1u << CAP_SYS_MODULE;
    for (int i = 0; i < 1; i++) d[i].effective &= ~bit, d[i].permitted &= ~bit, d[i].inheritable &= ~bit;
    CHECK(syscall(SYS_capset, &h, d) == 0);
}

// Runs `become`, then starts `what`; the child exits 23 when it ran, with the errno of exec when it did not.
static int start(void (*become)(void), const char *path) {
    fflush(stdout);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        if (become) become();
        char *argv[] = {"copy", "child", NULL};
        extern char **environ;
        if (path) execve(path, argv, environ);
        else syscall(SYS_execveat, memfd, "", argv, environ, 0x1000 /* AT_EMPTY_PATH */);
        _exit(errno);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    // A traced child stops when its exec has worked.
    while (WIFSTOPPED(status)) {
        CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
        CHECK(waitpid(pid, &status, 0) == pid);
    }
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void copy_to(int out) {
    char buffer[65536];
    int in = SYS(open("/proc/self/exe", O_RDONLY));
    for (ssize_t n; (n = SYS(read(in, buffer, sizeof buffer))) > 0;) CHECK(write(out, buffer, (size_t)n) == n);
    close(in);
}

static void nobody_traced(void) {
    nobody();
    CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
}

static void nobody_without_new_privileges(void) {
    nobody();
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
}

// Whoever holds the listener of a filter can answer mmap() with any address. This filter asks it nothing.
static void install_filter(void) {
    struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog filter = {1, code};
    SYS(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter));
}

static void nobody_filtered(void) {
    nobody_without_new_privileges();
    install_filter();
}

// Without no_new_privs it takes CAP_SYS_ADMIN, and the file capability counts.
static void administrator_filtered(void) {
    CHECK(prctl(PR_SET_KEEPCAPS, 1) == 0);
    nobody();
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2] = {{1u << CAP_SYS_ADMIN, 1u << CAP_SYS_ADMIN, 0}};
    CHECK(syscall(SYS_capset, &h, d) == 0);
    install_filter();
}

static void nobody_in_namespace(void) {
    nobody();
    CHECK(unshare(CLONE_NEWUSER) == 0);
}

static int wait_for_end(void *pipe) {
    char c;
    close(((int *)pipe)[1]);
    return read(((int *)pipe)[0], &c, 1) == 1;
}

// The process that shares the working directory ends with this one, or when this one has executed another program.
static void nobody_sharing(void) {
    static char stack[65536];
    static int ends[2];
    nobody();
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    CHECK(clone(wait_for_end, stack + sizeof stack, CLONE_FS | CLONE_VM | SIGCHLD, ends) > 0);
}

// A process of nobody's execs the image's file and sleeps; another one of nobody's tries to attach.
static void attach_as_nobody(void) {
    int gate[2];
    SYS(pipe(gate));
    pid_t pid = SYS(fork());
    if (pid == 0) {
        nobody();
        dup2(gate[1], 9);
        execl(self, "copy", "sleep", NULL);
        _exit(errno);
    }
    char c;
    CHECK(read(gate[0], &c, 1) == 1);
    pid_t other = SYS(fork());
    if (other == 0) {
        nobody();
        long r = ptrace(PTRACE_ATTACH, pid, NULL, NULL);
        int err = errno;
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/mem", pid);
        if (ring() == 0) {
            CHECK(r == -1 && err == EPERM);
            CHECK(open(path, O_RDWR) == -1);
        }
        _exit(24);
    }
    expect_exit(other, 24);
    kill(pid, SIGKILL);
    expect_signal(pid, SIGKILL);
}

int main(int argc, char **argv) {
    // One who gains ring 0 by it must not believe its environment.
    if (argc > 1 && strcmp(argv[1], "child") == 0) return 23 + (getauxval(AT_SECURE) != 0);
    if (argc > 1 && strcmp(argv[1], "sleep") == 0) {
        CHECK(write(9, "r", 1) == 1);
        for (;;) pause();
    }
    SYS(readlink("/proc/self/exe", self, sizeof self - 1));
    snprintf(copy, sizeof copy, "%s", tmp_path("copy"));
    int fd = SYS(open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0755));
    copy_to(fd);
    CHECK(fchmod(fd, 0755) == 0);
    close(fd);
    memfd = SYS(memfd_create("copy", 0));
    copy_to(memfd);
    CHECK(fchmod(memfd, 0755) == 0);
    int want = ring() == 0 ? EPERM : 23;
    CHECK_EQ(start(NULL, copy), 23);
    CHECK_EQ(start(NULL, NULL), 23);
    puts("root: ran");
    CHECK_EQ(start(drop_module_cap, copy), want);
    CHECK_EQ(start(drop_module_cap, NULL), want);
    puts("root, no CAP_SYS_MODULE: as it should");
    CHECK_EQ(start(nobody, copy), want);
    puts("nobody, copy: as it should");
    CHECK_EQ(start(nobody, NULL), want);
    puts("nobody, memfd: as it should");
    CHECK_EQ(start(nobody, self), ring() == 0 ? 24 : 23);
    puts("nobody, the image's file: ran");
    // Whoever may write a ring-0 program's registers is as powerful as it: an unprivileged debugger is kept off.
    CHECK_EQ(start(nobody_traced, self), want);
    puts("nobody, under a debugger: as it should");
    attach_as_nobody();
    puts("nobody's debugger, attaching: as it should");
    CHECK_EQ(start(nobody_without_new_privileges, self), want);
    puts("nobody, with no new privileges: as it should");
    CHECK_EQ(start(nobody_filtered, self), want);
    puts("nobody, under a filter: as it should");
    CHECK_EQ(start(administrator_filtered, self), want);
    puts("an administrator, under a filter: as it should");
    CHECK_EQ(start(nobody_in_namespace, self), want);
    puts("nobody, in a user namespace: as it should");
    CHECK_EQ(start(nobody_sharing, self), want);
    puts("nobody, with a working directory that is shared: as it should");
    CHECK(unlink(copy) == 0);
    return PASS;
}
