// A program's computing is user time and its calls are system time, by getrusage, times and /proc, though both run at
// one privilege level. RLIMIT_CPU ends a loop with SIGXCPU.
//#Calm: measures its own share of a CPU
//#Timeout: 60
//#Expect-stdout: user time counted
//#Expect-stdout: limit reached
#include "common.h"
#include <sys/resource.h>
#include <sys/times.h>

int main(void) {
    struct rusage ru;
    int64_t start = now_ns(CLOCK_MONOTONIC);
    volatile long spin = 0;
    while (now_ns(CLOCK_MONOTONIC) - start < 1000000000)
        for (int i = 0; i < 10000; i++) spin++;
    CHECK(getrusage(RUSAGE_SELF, &ru) == 0);
    long user = ru.ru_utime.tv_sec * 1000 + ru.ru_utime.tv_usec / 1000;
    long sys = ru.ru_stime.tv_sec * 1000 + ru.ru_stime.tv_usec / 1000;
    // Other processes may have had the CPU; the share of the two is what counts.
    CHECK(user > 50);
    CHECK(user > 2 * sys);
    struct tms t;
    CHECK(times(&t) != -1 && t.tms_utime > 0);
    puts("user time counted");
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
