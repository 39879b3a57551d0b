// A debugger steps through fork instruction by instruction. The child, which nobody traces, does not inherit the steps.
//#Timeout: 120
//#Expect-stdout: stepped over fork, the child ran on
#include "common.h"
#include <sys/ptrace.h>
#include <sys/user.h>

// Whether the target has returned from fork. In memory that both share.
static volatile int *forked;

static void as_target(void) {
    CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
    raise(SIGSTOP);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 100; i++) getppid();
        _exit(5);
    }
    *forked = 1;
    int status;
    while (waitpid(pid, &status, 0) == -1) CHECK(errno == EINTR);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status));
}

int main(void) {
    forked = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    stay_here();
    pid_t pid = SYS(fork());
    if (pid == 0) as_target();
    int status, steps = 0;
    CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
    // Past the return from fork, and then some.
    while (steps < 4000) {
        CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
        CHECK(waitpid(pid, &status, 0) == pid);
        if (!WIFSTOPPED(status)) break;
        steps++;
    }
    CHECK(*forked);
    if (WIFSTOPPED(status)) {
        CHECK(ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0);
        CHECK(waitpid(pid, &status, 0) == pid);
    }
    CHECK(steps > 100);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 5);
    puts("stepped over fork, the child ran on");
    return PASS;
}
