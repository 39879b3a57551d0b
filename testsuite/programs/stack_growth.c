// The stack grows on demand: 7 MiB of recursion on the main thread, in large steps too, and 700 KiB on a thread.
//#Libs: -pthread
//#Expect-stdout: deep 7
//#Expect-stdout: stride ok
//#Expect-stdout: thread deep
#include "common.h"
#include <sys/resource.h>

static __attribute__((noinline)) long dig(long left) {
    volatile char frame[4000];
    frame[0] = (char)left, frame[3999] = 1;
    if (left <= 0) return 0;
    long r = dig(left - (long)sizeof frame) + frame[3999];
    CHECK_EQ(frame[0], (char)left);
    return r;
}

static __attribute__((noinline)) void stride(void) {
    // One frame far larger than a page, touched at its far end by a system call first, then by an instruction.
    char frame[600 * 1024];
    CHECK(getcwd(frame, 100) != NULL);
    volatile char *p = frame;
    p[300 * 1024] = 1;
    CHECK(p[300 * 1024] == 1);
}

static void *thread(void *arg) {
    CHECK(dig(700 * 1024) > 100);
    return arg;
}

int main(void) {
    struct rlimit rl;
    CHECK(getrlimit(RLIMIT_STACK, &rl) == 0);
    CHECK(rl.rlim_cur == RLIM_INFINITY || rl.rlim_cur >= 8 << 20);
    stride();
    CHECK(dig(7 << 20) > 1000);
    puts("deep 7");
    pid_t pid = SYS(fork());
    if (pid == 0) {
        stride();
        _exit(dig(7 << 20) > 1000);
    }
    expect_exit(pid, 1);
    puts("stride ok");
    pthread_attr_t attr;
    PT(pthread_attr_init(&attr));
    PT(pthread_attr_setstacksize(&attr, 1 << 20));
    pthread_t t;
    PT(pthread_create(&t, &attr, thread, NULL));
    PT(pthread_join(t, NULL));
    puts("thread deep");
    return PASS;
}
