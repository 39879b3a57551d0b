// vfork: the child runs on the parent's memory and stack until it execs or exits; the parent stands still meanwhile.
//#Helper: ring3
//#Expect-stdout: exited 100
//#Expect-stdout: exec'd 20
#include "common.h"

static volatile int written;

static __attribute__((noinline)) int once(int i) {
    volatile int frame = i;
    pid_t pid = vfork();
    if (pid == 0) {
        written = i;
        frame = i + 1;
        _exit(i % 100);
    }
    CHECK(pid > 0);
    CHECK_EQ(written, i);
    CHECK_EQ(frame, i + 1);
    expect_exit(pid, i % 100);
    return 1;
}

int main(void) {
    int n = 0;
    for (int i = 0; i < 100; i++) n += once(i);
    printf("exited %d\n", n);
    const char *path = helper("ring3");
    char *argv[] = {"ring3", "exit", "17", NULL};
    for (n = 0; n < 20; n++) {
        pid_t pid = vfork();
        if (pid == 0) {
            execv(path, argv);
            _exit(99);
        }
        expect_exit(pid, 17);
    }
    printf("exec'd %d\n", n);
    return PASS;
}
