// Security modules control who may start ring-0 code. LoadPin, told to enforce, lets root load from the file system
// that the first module came from, which is the image's: a copy of this program elsewhere is EPERM for all of root's
// capabilities, the image's own file starts, and ordinary programs are none of its business.
//#Skip-host: switches a setting of the whole machine
//#Skip-ring3: nothing asks for ring 0
//#Calm: switches a setting of the whole machine
//#Helper: ring3
//#Expect-stdout: not enforcing: ran
//#Expect-stdout: enforcing, copy: EPERM
//#Expect-stdout: enforcing, memfd: EPERM
//#Expect-stdout: enforcing, the image's file: ran
//#Expect-stdout: enforcing, an ordinary program: ran
//#Expect-stdout: not enforcing any more: ran
#include "common.h"

extern char **environ;

// Executes the descriptor's file. The child exits with 23 if it ran, and with exec's errno otherwise.
static int start(int fd) {
    fflush(stdout);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        char *argv[] = {"exec_lsm", "child", NULL};
        syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
        _exit(errno);
    }
    return exit_status(pid);
}

static void enforce(const char *yes) {
    int fd = SYS(open("/proc/sys/kernel/loadpin/enforce", O_WRONLY));
    CHECK_EQ(write(fd, yes, 1), 1);
    close(fd);
}

// Switch enforcement off again even if a check fails, because other programs run in this guest afterwards.
static int start_enforced(int fd) {
    enforce("1");
    int result = start(fd);
    enforce("0");
    return result;
}

// A copy of a file, into one that can be executed; a file that is open for writing cannot.
static int copy(const char *from, const char *to) {
    char buffer[65536];
    int in = SYS(open(from, O_RDONLY));
    int out = to ? SYS(open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755)) : SYS(memfd_create("copy", 0));
    for (ssize_t n; (n = SYS(read(in, buffer, sizeof buffer))) > 0;) CHECK_EQ(write(out, buffer, (size_t)n), n);
    close(in);
    CHECK(fchmod(out, 0755) == 0);
    if (!to) return out;
    close(out);
    return SYS(open(to, O_PATH));
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "child") == 0) return 23;
    char self[256] = "";
    SYS(readlink("/proc/self/exe", self, sizeof self - 1));
    const char *path = tmp_path("exec_lsm"), *ordinary = tmp_path("ring3");
    int file = copy(self, path), memory = copy(self, NULL);
    CHECK_EQ(start(file), 23);
    CHECK_EQ(start(memory), 23);
    puts("not enforcing: ran");
    CHECK_EQ(start_enforced(file), EPERM);
    puts("enforcing, copy: EPERM");
    CHECK_EQ(start_enforced(memory), EPERM);
    puts("enforcing, memfd: EPERM");
    CHECK_EQ(start_enforced(SYS(open(self, O_PATH))), 23);
    puts("enforcing, the image's file: ran");
    // It does not know the word `child`, and exits with that.
    CHECK_EQ(start_enforced(copy(helper("ring3"), ordinary)), 93);
    puts("enforcing, an ordinary program: ran");
    CHECK_EQ(start(file), 23);
    puts("not enforcing any more: ran");
    CHECK(unlink(path) == 0 && unlink(ordinary) == 0);
    return PASS;
}
