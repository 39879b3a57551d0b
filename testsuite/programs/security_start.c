// Who may start the program of an image that says nothing about it: who could load a module, by the credentials that
// exec grants. Not the caller's before it: AmbientCapabilities= with another user may, ProtectKernelModules= (the
// bounding set) may not; CAP_LINUX_IMMUTABLE is no substitute, and kernel.modules_disabled=1 holds for root, too.
//#Skip-host: needs to be root in a machine of its own
//#Alone: switches a setting that nothing switches back
//#Expect-stdout: root: ran
//#Expect-stdout: nobody: as it should
//#Expect-stdout: nobody, with the capability: ran
//#Expect-stdout: root, by its bounding set: as it should
//#Expect-stdout: root, with an immutable copy: as it should
//#Expect-stdout: root, in a user namespace: as it should
//#Expect-stdout: root, modules disabled: as it should
#include "common.h"
#include <linux/capability.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

extern char **environ;
static const char *copy = "/security_start.copy";

static void set_capabilities(unsigned low) {
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2] = {{low, low, low}};
    CHECK(syscall(SYS_capset, &h, d) == 0);
}

static void nobody_with_capability(void) {
    CHECK(prctl(PR_SET_KEEPCAPS, 1) == 0);
    nobody();
    set_capabilities(1u << CAP_SYS_MODULE);
    CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_MODULE, 0, 0) == 0);
}

static void bounded(void) {
    CHECK(prctl(PR_CAPBSET_DROP, CAP_SYS_MODULE) == 0);
}

// A copy on the image's file system, made by somebody who may do no more than make files immutable.
static void immutable(void) {
    char buffer[65536];
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        if (cap != CAP_LINUX_IMMUTABLE) CHECK(prctl(PR_CAPBSET_DROP, cap) == 0);
    set_capabilities(1u << CAP_LINUX_IMMUTABLE);
    int in = SYS(open("/proc/self/exe", O_RDONLY));
    int out = SYS(open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0755));
    for (ssize_t n; (n = SYS(read(in, buffer, sizeof buffer))) > 0;) CHECK_EQ(write(out, buffer, (size_t)n), n);
    int flags;
    CHECK(ioctl(out, FS_IOC_GETFLAGS, &flags) == 0);
    close(out);
    out = SYS(open(copy, O_RDONLY));
    flags |= FS_IMMUTABLE_FL;
    CHECK(ioctl(out, FS_IOC_SETFLAGS, &flags) == 0);
    close(out);
}

static void put(const char *path, const char *text) {
    int fd = SYS(open(path, O_WRONLY));
    CHECK_EQ(write(fd, text, strlen(text)), (long)strlen(text));
    close(fd);
}

// Root of the namespace has all capabilities, in the namespace.
static void root_of_namespace(void) {
    CHECK(unshare(CLONE_NEWUSER) == 0);
    put("/proc/self/uid_map", "0 0 1");
}

// Runs `become`, then starts the file; the child exits 23 when it ran, with the errno of exec when it did not.
static int start(void (*become)(void), const char *path) {
    fflush(stdout);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        if (become) become();
        char *argv[] = {"security_start", "child", NULL};
        execve(path, argv, environ);
        _exit(errno);
    }
    return exit_status(pid);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "child") == 0) return 23;
    int want = ring() == 0 ? EPERM : 23;
    char self[256] = "";
    SYS(readlink("/proc/self/exe", self, sizeof self - 1));
    CHECK_EQ(start(NULL, self), 23);
    puts("root: ran");
    CHECK_EQ(start(nobody, self), want);
    puts("nobody: as it should");
    CHECK_EQ(start(nobody_with_capability, self), 23);
    puts("nobody, with the capability: ran");
    CHECK_EQ(start(bounded, self), want);
    puts("root, by its bounding set: as it should");
    CHECK_EQ(start(immutable, copy), want);
    puts("root, with an immutable copy: as it should");
    CHECK_EQ(start(root_of_namespace, self), want);
    puts("root, in a user namespace: as it should");
    put("/proc/sys/kernel/modules_disabled", "1");
    CHECK_EQ(start(NULL, self), want);
    puts("root, modules disabled: as it should");
    return PASS;
}
