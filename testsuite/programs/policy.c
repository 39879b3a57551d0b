// The policy by which a program enters and leaves the kernel belongs to the thread: threads, children and executed
// programs inherit it, it can be changed at run time, and it is never lost.
//#Libs: -pthread
//#Skip-host: it is about the guest
//#Expect-stdout: handed on
//#Expect-stdout: changed
#include "common.h"
#include <sys/personality.h>

// As ukl.h has them.
enum { BYPASS = 0x10000000, RET = 0x20000000, SHARED = 0x40000000, ALL = BYPASS | RET | SHARED };

static unsigned expected;

static unsigned policy(void) {
    // Make some calls first, so that everything the first calls set up is there.
    for (int i = 0; i < 200; i++) getppid();
    return (unsigned)personality(0xffffffff) & ALL;
}

static void *thread(void *arg) {
    CHECK_EQ(policy(), expected);
    return arg;
}

int main(int argc, char **argv) {
    const char *want = getenv("UKL_EXPECT_POLICY");
    CHECK(want != NULL);
    expected = (unsigned)strtoul(want, NULL, 0);
    CHECK_EQ(policy(), expected);
    if (argc > 1) return 5;
    pthread_t t;
    PT(pthread_create(&t, NULL, thread, NULL));
    PT(pthread_join(t, NULL));
    pid_t pid = SYS(fork());
    if (pid == 0) {
        CHECK_EQ(policy(), expected);
        execl("/proc/self/exe", argv[0], "again", NULL);
        _exit(99);
    }
    expect_exit(pid, 5);
    puts("handed on");
    // Each policy in turn, between calls. Stacks are shared only in images that have thunks for it.
    unsigned now = (unsigned)personality(0xffffffff);
    for (unsigned bits = 0; bits < 8; bits++) {
        unsigned wanted = bits << 28;
        if (!(expected & SHARED)) wanted &= ~SHARED;
        SYS(personality((now & ~ALL) | wanted));
        CHECK_EQ(policy(), wanted);
        pid = SYS(fork());
        if (pid == 0) _exit(policy() == wanted ? 6 : 7);
        expect_exit(pid, 6);
    }
    SYS(personality(now));
    CHECK_EQ(policy(), expected);
    puts("changed");
    return PASS;
}
