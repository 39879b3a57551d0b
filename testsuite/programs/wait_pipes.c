// A three-stage pipeline, exit and stop statuses, WNOHANG, waitid, SIGCHLD, process groups and orphans.
//#Expect-stdout: pipeline: DLROW OLLEH
//#Expect-stdout: statuses ok
//#Expect-stdout: stopped and continued
//#Expect-stdout: group killed
//#Expect-stdout: orphan adopted
#include "common.h"
#include <ctype.h>
#include <sys/prctl.h>

static volatile int chld;
static void on_chld(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)ctx;
    CHECK(si->si_code == CLD_EXITED || si->si_code == CLD_KILLED);
    chld++;
}

static pid_t stage(int in, int out, int which, int close_me) {
    pid_t pid = SYS(fork());
    if (pid) return pid;
    if (close_me >= 0) close(close_me);
    char text[100];
    size_t n = 0;
    for (ssize_t r; (r = read(in, text + n, sizeof text - n)) > 0;) n += (size_t)r;
    for (size_t i = 0; i < n && which == 0; i++) text[i] = (char)toupper(text[i]);
    for (size_t i = 0; i < n / 2 && which == 1; i++) {
        char c = text[i];
        text[i] = text[n - 1 - i], text[n - 1 - i] = c;
    }
    CHECK(write(out, text, n) == (ssize_t)n);
    _exit(0);
}

int main(void) {
    int a[2], b[2], c[2];
    SYS(pipe(a));
    SYS(pipe(b));
    SYS(pipe(c));
    pid_t p1 = stage(a[0], b[1], 0, a[1]);
    close(a[0]), close(b[1]);
    pid_t p2 = stage(b[0], c[1], 1, a[1]);
    close(b[0]), close(c[1]);
    CHECK(write(a[1], "hello world", 11) == 11);
    close(a[1]);
    char text[100];
    size_t n = 0;
    for (ssize_t r; (r = read(c[0], text + n, sizeof text - n)) > 0;) n += (size_t)r;
    printf("pipeline: %.*s\n", (int)n, text);
    expect_exit(p1, 0);
    expect_exit(p2, 0);
    fflush(stdout);

    handle(SIGCHLD, on_chld, SA_RESTART | SA_NOCLDSTOP);
    int gate[2];
    SYS(pipe(gate));
    pid_t pid = SYS(fork());
    if (pid == 0) {
        char x;
        close(gate[1]);
        if (read(gate[0], &x, 1) == 0) _exit(200);
        _exit(1);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
    close(gate[0]), close(gate[1]);
    siginfo_t si;
    CHECK(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT) == 0);
    CHECK(si.si_code == CLD_EXITED && si.si_status == 200 && si.si_pid == pid);
    expect_exit(pid, 200);
    CHECK(waitpid(pid, &status, 0) == -1 && errno == ECHILD);
    CHECK(chld >= 1);
    puts("statuses ok");
    fflush(stdout);

    pid = SYS(fork());
    if (pid == 0)
        for (;;) pause();
    CHECK(kill(pid, SIGSTOP) == 0);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    CHECK(kill(pid, SIGCONT) == 0);
    CHECK(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
    CHECK(kill(pid, SIGTERM) == 0);
    expect_signal(pid, SIGTERM);
    puts("stopped and continued");
    fflush(stdout);

    pid_t group = 0, member[3];
    for (int i = 0; i < 3; i++) {
        member[i] = SYS(fork());
        if (member[i] == 0)
            for (;;) pause();
        if (i == 0) group = member[0];
        CHECK(setpgid(member[i], group) == 0);
    }
    CHECK(kill(-group, SIGKILL) == 0);
    for (int i = 0; i < 3; i++) expect_signal(member[i], SIGKILL);
    puts("group killed");
    fflush(stdout);

    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    int report[2];
    SYS(pipe(report));
    pid = SYS(fork());
    if (pid == 0) {
        pid_t middle = getpid();
        if (SYS(fork()) == 0) {
            while (getppid() == middle) usleep(1000);
            pid_t parent = getppid();
            CHECK(write(report[1], &parent, sizeof parent) == sizeof parent);
            _exit(33);
        }
        _exit(0);
    }
    expect_exit(pid, 0);
    pid_t adopted;
    CHECK(read(report[0], &adopted, sizeof adopted) == sizeof adopted);
    CHECK_EQ(adopted, getpid());
    CHECK(waitpid(-1, &status, 0) > 0 && WEXITSTATUS(status) == 33);
    puts("orphan adopted");
    return PASS;
}
