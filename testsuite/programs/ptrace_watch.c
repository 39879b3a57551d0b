// Hardware watchpoints by ptrace, from the program's own ring and from ring 3.
//#Helper: tracer
//#Cpus: 1
//#CFlags: -fno-pie -no-pie
//#Expect-stdout: watchpoint hit 5
//#Expect-stdout: watchpoint hit 5
#include "ptrace_target.h"

int main(int argc, char **argv) {
    if (argc > 1) return as_target(argv[1]);
    (void)run_tracer;
    char self[256] = "", tick_at[20], watched_at[20], buffer_at[20];
    SYS(readlink("/proc/self/exe", self, sizeof self - 1));
    struct places p = own_places();
    watchpoint(self, &p);
    fflush(stdout);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        snprintf(tick_at, sizeof tick_at, "%lx", p.tick);
        snprintf(watched_at, sizeof watched_at, "%lx", p.watched);
        snprintf(buffer_at, sizeof buffer_at, "%lx", p.buffer);
        if (getenv("UKL_EXPECT_RING")) setenv("UKL_TARGET_RING", getenv("UKL_EXPECT_RING"), 1);
        setenv("UKL_EXPECT_RING", "3", 1);
        execl(helper("tracer"), "tracer", "watch", self, tick_at, watched_at, buffer_at, NULL);
        _exit(99);
    }
    expect_exit(pid, 0);
    return PASS;
}
