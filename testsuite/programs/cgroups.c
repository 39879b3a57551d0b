// Control groups hold a ring-0 process as they hold any other: killed at its memory limit, frozen in a loop and in a blocked
// call and thawed, throttled in its CPU time, limited in its number of processes.
//#Skip-host: needs root in a machine of its own
//#Calm: competes for memory by design
//#Timeout: 120
//#Expect-stdout: killed at its limit
//#Expect-stdout: frozen and thawed
//#Expect-stdout: throttled
//#Expect-stdout: counted
#include "common.h"
#include <sys/mount.h>

static const char *root = "/sys/fs/cgroup";

static int put(const char *file, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, file);
    int fd = open(path, O_WRONLY);
    if (fd < 0) return -1;
    ssize_t n = write(fd, text, strlen(text));
    close(fd);
    return n > 0 ? 0 : -1;
}

static long get(const char *file, const char *key) {
    char path[256], text[4096];
    snprintf(path, sizeof path, "%s/%s", root, file);
    int fd = SYS(open(path, O_RDONLY));
    ssize_t n = SYS(read(fd, text, sizeof text - 1));
    close(fd);
    text[n] = 0;
    char *p = strstr(text, key);
    CHECK(p != NULL);
    return atol(p + strlen(key));
}

int main(void) {
    mkdir(root, 0755);
    mount("cgroup2", root, "cgroup2", 0, NULL);
    put("cgroup.subtree_control", "+memory");
    put("cgroup.subtree_control", "+cpu");
    put("cgroup.subtree_control", "+pids");
    char dir[256];
    snprintf(dir, sizeof dir, "%s/battery", root);
    CHECK(mkdir(dir, 0755) == 0 || errno == EEXIST);
    CHECK(put("battery/memory.max", "33554432") == 0);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        CHECK(put("battery/cgroup.procs", "0") == 0);
        for (;;) {
            char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            CHECK(p != MAP_FAILED);
            memset(p, 1, 1 << 20);
        }
    }
    expect_signal(pid, SIGKILL);
    CHECK(get("battery/memory.events", "oom_kill ") >= 1);
    puts("killed at its limit");
    fflush(stdout);
    volatile long *count = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    pid_t loop = SYS(fork());
    if (loop == 0) {
        CHECK(put("battery/cgroup.procs", "0") == 0);
        for (;;) ++*count;
    }
    pid_t sleeper = SYS(fork());
    if (sleeper == 0) {
        CHECK(put("battery/cgroup.procs", "0") == 0);
        for (;;) {
            struct timespec ts = {0, 1000000};
            nanosleep(&ts, NULL);
            ++count[1];
        }
    }
    for (int i = 0; i < 3; i++) {
        for (long was = *count, slept = count[1]; *count == was || count[1] == slept;) sleep_ms(1);
        CHECK(put("battery/cgroup.freeze", "1") == 0);
        while (get("battery/cgroup.events", "frozen ") != 1) sleep_ms(1);
        long was = *count, slept = count[1];
        sleep_ms(60);
        CHECK(*count == was && count[1] == slept);
        CHECK(put("battery/cgroup.freeze", "0") == 0);
    }
    puts("frozen and thawed");
    // 5 ms of every 50: the rest it stands still, though it never makes a call.
    CHECK(put("battery/cpu.max", "5000 50000") == 0);
    while (get("battery/cpu.stat", "nr_throttled ") < 3) sleep_ms(20);
    CHECK(put("battery/cpu.max", "max") == 0);
    puts("throttled");
    // Two processes are in it, and a third is the last.
    fflush(stdout);
    CHECK(put("battery/pids.max", "3") == 0);
    pid = SYS(fork());
    if (pid == 0) {
        CHECK(put("battery/cgroup.procs", "0") == 0);
        CHECK(fork() == -1 && errno == EAGAIN);
        _exit(4);
    }
    expect_exit(pid, 4);
    CHECK(put("battery/pids.max", "max") == 0);
    puts("counted");
    kill(loop, SIGKILL);
    kill(sleeper, SIGKILL);
    expect_signal(loop, SIGKILL);
    expect_signal(sleeper, SIGKILL);
    for (int i = 0; i < 200 && rmdir(dir) == -1; i++) sleep_ms(5);
    return PASS;
}
