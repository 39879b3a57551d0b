// Runs many programs of the battery in one boot. It is the program of an image that contains them as files.
//
// Arguments: DIR, then for each program NAME TIMEOUT NENV NARGS, its environment and its arguments. Each program runs
// as a child in a session of its own, with /dev/null as standard input and its two outputs kept apart. Whatever it
// leaves behind is killed before the next one starts. The report goes to standard output:
//
//     @begin NAME
//     @stdout LENGTH        and so many bytes, and a newline; stderr the same
//     @end NAME exit 42     or `signal 11`, `timeout 30`; then the milliseconds it took
//     @nmis N FAULTS        the NMIs since the boot, and the faults in their handlers, of the stress test
//
// TIMEOUT is in seconds. A program that has got no processor time for so long hangs, and is killed; one that goes on
// without coming to an end is killed after WAIT times as long. On a busy host the second is what most programs need.
//
// A line per program in the kernel's log lets the harness tell whose warnings are whose.
//
// With `--for SECONDS --workers N` before DIR, N workers run through the list of programs repeatedly, each starting at
// another place, until the time is over. This is the stress test.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KEEP = 64 * 1024, WAIT = 5 };

static void die(const char *what) {
    fprintf(stderr, "battery-driver: %s: %s\n", what, strerror(errno));
    exit(1);
}

// The report of one program, written in one piece so that the reports of workers do not mix.
static char *report;
static size_t report_len, report_room;
static int turn[2] = {-1, -1};

static void put(const char *data, size_t len) {
    if (report_len + len > report_room) {
        report_room = (report_len + len) * 2;
        report = realloc(report, report_room);
        if (!report) die("memory for the report");
    }
    memcpy(report + report_len, data, len);
    report_len += len;
}

static void hand_on(void) {
    char token;
    if (turn[0] >= 0 && read(turn[0], &token, 1) != 1) die("turn");
    for (size_t at = 0; at < report_len;) {
        ssize_t n = write(1, report + at, report_len - at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) die("standard output");
        at += (size_t)n;
    }
    report_len = 0;
    if (turn[1] >= 0 && write(turn[1], "t", 1) != 1) die("turn");
}

static __attribute__((format(printf, 1, 2))) void say(const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put(text, (size_t)n);
}

static void log_line(const char *what, const char *name) {
    static int kmsg = -2;
    if (kmsg == -2) kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
    // Not dprintf: it seeks, which this file refuses.
    char text[256];
    int n = snprintf(text, sizeof text, "<4>battery: %s %s\n", what, name);
    if (kmsg >= 0 && write(kmsg, text, (size_t)n) != n) die("/dev/kmsg");
}

static long now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

// Copies what a program has written, or the end of it if it was too much.
static void relay(const char *which, int fd) {
    off_t size = lseek(fd, 0, SEEK_END);
    off_t from = size > KEEP ? size - KEEP : 0;
    char *text = malloc(KEEP);
    ssize_t n = text ? pread(fd, text, KEEP, from) : 0;
    say("@%s %zd\n", which, n > 0 ? n : 0);
    if (n > 0) put(text, (size_t)n);
    put("\n", 1);
    free(text);
}

static int slurp(const char *pid, const char *file, char *text, size_t room) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, room - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

// The processor time that a session has got, in clock ticks, its dead processes included.
static unsigned long time_of_session(pid_t session) {
    unsigned long sum = 0;
    DIR *proc = opendir("/proc");
    if (!proc) return 0;
    for (struct dirent *e; (e = readdir(proc));) {
        char stat[512];
        int sid;
        unsigned long user, system, children_user, children_system;
        if (e->d_name[0] < '1' || e->d_name[0] > '9' || !slurp(e->d_name, "stat", stat, sizeof stat)) continue;
        char *p = strrchr(stat, ')');
        // proc(5): behind the name, the state, ppid, pgrp, session; tty_nr to cmajflt; the times.
        if (p && sscanf(p + 2, "%*c %*d %*d %d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu", &sid, &user, &system,
                        &children_user, &children_system) == 5 && sid == session)
            sum += user + system + children_user + children_system;
    }
    closedir(proc);
    return sum;
}

// Waits for a program; 0 if it went over its limit.
static int wait_for(int pidfd, pid_t pid, int limit) {
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    long start = now_ms(), progress = start;
    unsigned long used = 0;
    for (;;) {
        int r = poll(&p, 1, 1000);
        if (r > 0) return 1;
        if (r < 0 && errno != EINTR) die("poll");
        unsigned long now_used = time_of_session(pid);
        long now = now_ms();
        if (now_used != used) progress = now;
        used = now_used;
        if (now - progress >= limit * 1000l || now - start >= limit * 1000l * WAIT) return 0;
    }
}

// Kills every process that descends from us; says what they were doing if `tell` is a file.
static void sweep(int tell) {
    for (int round = 0; round < 1000; round++) {
        int found = 0;
        DIR *proc = opendir("/proc");
        if (!proc) return;
        for (struct dirent *e; (e = readdir(proc));) {
            char stat[512], more[512];
            int ppid = 0;
            if (e->d_name[0] < '1' || e->d_name[0] > '9' || !slurp(e->d_name, "stat", stat, sizeof stat)) continue;
            char *p = strrchr(stat, ')');
            if (!p || sscanf(p + 2, "%*c %d", &ppid) != 1 || ppid != getpid()) continue;
            found++;
            if (tell >= 0) {
                dprintf(tell, "left: %.100s\n", stat);
                if (slurp(e->d_name, "syscall", more, sizeof more)) dprintf(tell, "  in call: %s", more);
                if (slurp(e->d_name, "stack", more, sizeof more)) dprintf(tell, "%s", more);
            }
            kill(atoi(e->d_name), SIGKILL);
        }
        closedir(proc);
        tell = -1;
        // Children of a process that was just killed become ours only when it is gone, so look again.
        while (waitpid(-1, NULL, WNOHANG) > 0) found = 1;
        if (!found) return;
        usleep(2000);
    }
}

static void run(const char *dir, const char *name, int limit, char **env, int nenv, char **args, int nargs) {
    log_line("begin", name);
    say("@begin %s\n", name);
    hand_on();
    int out = memfd_create("stdout", MFD_CLOEXEC), err = memfd_create("stderr", MFD_CLOEXEC);
    if (out < 0 || err < 0) die("memfd_create");
    // O_APPEND is what keeps several writers of one file from overwriting each other.
    fcntl(out, F_SETFL, O_APPEND);
    fcntl(err, F_SETFL, O_APPEND);
    long start = now_ms();
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        char path[512];
        char **argv = calloc((size_t)nargs + 2, sizeof *argv);
        setsid();
        int null = open("/dev/null", O_RDONLY);
        dup2(null, 0);
        dup2(out, 1);
        dup2(err, 2);
        close(null);
        for (int i = 0; i < nenv; i++) putenv(env[i]);
        snprintf(path, sizeof path, "%s/%s", dir, name);
        argv[0] = path;
        for (int i = 0; i < nargs; i++) argv[i + 1] = args[i];
        execv(path, argv);
        dprintf(2, "battery-driver: %s: %s\n", path, strerror(errno));
        _exit(127);
    }
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int status = 0, late = !wait_for(pidfd, pid, limit);
    if (late) {
        log_line("timeout", name);
        sweep(err);
    } else {
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    }
    close(pidfd);
    long took = now_ms() - start;
    sweep(-1);
    relay("stdout", out);
    relay("stderr", err);
    log_line("end", name);
    if (late) say("@end %s timeout %d %ld\n", name, limit, took);
    else if (WIFSIGNALED(status)) say("@end %s signal %d %ld\n", name, WTERMSIG(status), took);
    else say("@end %s exit %d %ld\n", name, WEXITSTATUS(status), took);
    hand_on();
    close(out);
    close(err);
}

struct test {
    char *name, **env, **args;
    int limit, nenv, nargs;
};

static int work(const char *dir, struct test *tests, int count, int from, long until) {
    // Orphans of a program come to us and not to init, so that they can be found.
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) die("prctl");
    for (int i = 0; until ? now_ms() < until : i < count; i++) {
        struct test *t = &tests[(i + from) % count];
        run(dir, t->name, t->limit, t->env, t->nenv, t->args, t->nargs);
    }
    return 0;
}

// How many NMIs the CPUs have taken since the boot.
static long nmis(void) {
    FILE *f = fopen("/proc/interrupts", "r");
    char line[1024];
    long sum = 0;
    while (f && fgets(line, sizeof line, f)) {
        char *p = strstr(line, "NMI:");
        if (!p) continue;
        char *end = p + 4;
        // The words behind the counts are no number, and end it.
        do {
            p = end;
            sum += strtol(p, &end, 10);
        } while (end != p);
    }
    if (f) fclose(f);
    return sum;
}

// How often the probe of helpers/storm.c was hit, and missed because it was hit inside itself.
static long faults(void) {
    FILE *f = fopen("/sys/kernel/tracing/kprobe_profile", "r");
    char name[100];
    long hits = 0, missed = 0;
    if (f && fscanf(f, "%99s %ld %ld", name, &hits, &missed) != 3) hits = 0;
    if (f) fclose(f);
    return hits;
}

int main(int argc, char **argv) {
    int seconds = 0, workers = 1, at = 1, count = 0;
    for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
        if (strcmp(argv[at], "--for") == 0) seconds = atoi(argv[at + 1]);
        else if (strcmp(argv[at], "--workers") == 0) workers = atoi(argv[at + 1]);
        else break;
    }
    if (at >= argc || argv[at][0] == '-' || workers < 1) {
        fprintf(stderr, "usage: battery-driver [--for SECONDS] [--workers N] DIR [NAME TIMEOUT NENV NARGS ENV... ARG...]...\n");
        return 2;
    }
    const char *dir = argv[at++];
    struct test *tests = calloc((size_t)argc, sizeof *tests);
    if (!tests) die("memory for the list");
    while (at + 3 < argc) {
        struct test *t = &tests[count++];
        *t = (struct test){.name = argv[at], .limit = atoi(argv[at + 1]), .nenv = atoi(argv[at + 2]), .nargs = atoi(argv[at + 3])};
        at += 4;
        if (t->nenv < 0 || t->nargs < 0 || at + t->nenv + t->nargs > argc) {
            fprintf(stderr, "battery-driver: %s: its arguments are cut short\n", t->name);
            return 2;
        }
        t->env = argv + at;
        t->args = argv + at + t->nenv;
        at += t->nenv + t->nargs;
    }
    long until = seconds ? now_ms() + seconds * 1000l : 0;
    if (workers == 1 || count == 0) {
        if (count) work(dir, tests, count, 0, until);
    } else {
        if (pipe2(turn, O_CLOEXEC) < 0 || write(turn[1], "t", 1) != 1) die("pipe");
        for (int i = 0; i < workers; i++) {
            pid_t pid = fork();
            if (pid < 0) die("fork");
            if (pid == 0) return work(dir, tests, count, i * count / workers, until);
        }
        int status;
        while (wait(&status) > 0)
            if (status != 0) return 3;
        say("@nmis %ld %ld\n", nmis(), faults());
    }
    say("@done\n");
    hand_on();
    return 42;
}
