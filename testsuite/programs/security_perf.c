// A perf event that an unprivileged process has opened on itself ends when the process executes a file that makes it
// privileged: it must not sample or count a program at ring 0. At ring 3 the same file gives no privileges, and the
// event continues to count.
//#Skip-host: needs to be root in a machine of its own
//#Alone: needs an image that is linked for it
//#CFlags: --ukl-start=anyone
//#Expect-stdout: root's event: counts
//#Expect-stdout: nobody's event: as it should
#include "common.h"
#include <linux/perf_event.h>

#define PAGES 500
#define COUNTED 23
#define NOT_COUNTED 24

extern char **environ;
static char self[256];

static int open_event(void) {
    struct perf_event_attr faults = {
        .type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_PAGE_FAULTS, .size = sizeof faults,
        .exclude_kernel = 1, .exclude_hv = 1,
    };
    return (int)SYS(syscall(SYS_perf_event_open, &faults, 0, -1, -1, 0));
}

static long value(int event) {
    long count = -1;
    CHECK_EQ(read(event, &count, sizeof count), sizeof count);
    return count;
}

// Whether the inherited event counts the page faults of this program.
static int is_counted(int event) {
    char *pages = SYS(mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    long before = value(event);
    for (int i = 0; i < PAGES; i++) pages[i * 4096] = 1;
    return value(event) - before >= PAGES;
}

static int run(int unprivileged) {
    fflush(stdout);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        if (unprivileged) nobody();
        char number[16];
        snprintf(number, sizeof number, "%d", open_event());
        char *argv[] = {"security_perf", number, NULL};
        execve(self, argv, environ);
        _exit(errno);
    }
    return exit_status(pid);
}

int main(int argc, char **argv) {
    if (argc > 1) return is_counted(atoi(argv[1])) ? COUNTED : NOT_COUNTED;
    SYS(readlink("/proc/self/exe", self, sizeof self - 1));
    CHECK_EQ(run(0), COUNTED);
    puts("root's event: counts");
    CHECK_EQ(run(1), ring() == 0 ? NOT_COUNTED : COUNTED);
    puts("nobody's event: as it should");
    return PASS;
}
