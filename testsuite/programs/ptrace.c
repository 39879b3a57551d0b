// ptrace by a tracer at the program's own ring and by one at ring 3: system-call stops, breakpoints, single steps,
// registers, attaching, events. The tracee is shown with ordinary selectors and lower-half addresses throughout.
//#Helper: tracer
//#CFlags: -fno-pie -no-pie
//#Timeout: 180
//#Expect-stdout: calls traced
//#Expect-stdout: breakpoints hit
//#Expect-stdout: single steps
//#Expect-stdout: registers set
//#Expect-stdout: attached 10
//#Expect-stdout: events: 2 forks, 2 execs, 3 exits
//#Expect-stdout: -- from ring 3
//#Expect-stdout: calls traced
//#Expect-stdout: breakpoints hit
//#Expect-stdout: single steps
//#Expect-stdout: registers set
//#Expect-stdout: attached 10
//#Expect-stdout: events: 2 forks, 2 execs, 3 exits
#include "ptrace_target.h"

int main(int argc, char **argv) {
    if (argc > 1) return as_target(argv[1]);
    char self[256] = "", tick_at[20], watched_at[20], buffer_at[20];
    SYS(readlink("/proc/self/exe", self, sizeof self - 1));
    struct places p = own_places();
    CHECK_EQ(run_tracer(self, &p), 0);
    puts("-- from ring 3");
    fflush(stdout);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        snprintf(tick_at, sizeof tick_at, "%lx", p.tick);
        snprintf(watched_at, sizeof watched_at, "%lx", p.watched);
        snprintf(buffer_at, sizeof buffer_at, "%lx", p.buffer);
        if (getenv("UKL_EXPECT_RING")) setenv("UKL_TARGET_RING", getenv("UKL_EXPECT_RING"), 1);
        setenv("UKL_EXPECT_RING", "3", 1);
        execl(helper("tracer"), "tracer", "trace", self, tick_at, watched_at, buffer_at, NULL);
        _exit(99);
    }
    expect_exit(pid, 0);
    return PASS;
}
