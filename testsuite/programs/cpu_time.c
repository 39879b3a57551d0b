// A program's computing is user time and its calls are system time, by getrusage, times and /proc, though both run at
// one privilege level. RLIMIT_CPU ends a loop with SIGXCPU.
//#Calm: measures its own share of a CPU
//#Timeout: 60
//#Expect-stdout: user and system time counted
//#Expect-stdout: limit reached
#include "common.h"
#include <sys/resource.h>
#include <sys/times.h>

// Milliseconds.
struct spent {
    long user, sys;
};

static struct spent spent(void) {
    struct rusage ru;
    CHECK(getrusage(RUSAGE_SELF, &ru) == 0);
    return (struct spent){ru.ru_utime.tv_sec * 1000 + ru.ru_utime.tv_usec / 1000,
                          ru.ru_stime.tv_sec * 1000 + ru.ru_stime.tv_usec / 1000};
}

int main(void) {
    volatile long spin = 0;
    static char buffer[1 << 20];
    int zero = SYS(open("/dev/zero", O_RDONLY));
    // Other processes may get the CPU, here and on the host: what counts is the share of the two kinds of time. The
    // start of the program is not part of it.
    struct spent before = spent(), now;
    do {
        for (int i = 0; i < 10000000; i++) spin++;
        now = spent();
    } while (now.user + now.sys - before.user - before.sys < 1000);
    CHECK(now.user - before.user > 2 * (now.sys - before.sys));
    // A tick counts for where it arrives. On a busy host ticks are late, and can miss the call: measure again then.
    int in_kernel = 0;
    for (int i = 0; i < 5 && !in_kernel; i++) {
        before = now;
        do {
            for (int k = 0; k < 100; k++) CHECK(read(zero, buffer, sizeof buffer) == sizeof buffer);
            now = spent();
        } while (now.user + now.sys - before.user - before.sys < 1000);
        in_kernel = now.sys - before.sys > 2 * (now.user - before.user);
    }
    CHECK(in_kernel);
    struct tms t;
    CHECK(times(&t) != -1 && t.tms_utime > 0 && t.tms_stime > 0);
    puts("user and system time counted");
    fflush(stdout);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        struct rlimit rl = {1, 5};
        CHECK(setrlimit(RLIMIT_CPU, &rl) == 0);
        for (;;) spin++;
    }
    expect_signal(pid, SIGXCPU);
    puts("limit reached");
    return PASS;
}
