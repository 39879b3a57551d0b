// storm WHAT...: an ordinary process that makes trouble for the whole machine until it is killed:
//   nmi      asks for backtraces of all CPUs, which come by NMI and look at the interrupted program's code; and has the
//            handler of an unknown NMI take a page fault, by a probe on a function that it calls
//   memory   keeps pages coming and going, so that there is little free at any time
//   timers   has 20 timers fire as fast as they go
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

static void nap(long ms) {
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&ts, NULL);
}

static void write_to(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) perror(path);
    close(fd);
}

static void nmi(void) {
    write_to("/proc/sys/kernel/sysrq", "1");
    // QEMU's emulation handles a breakpoint that stays, but not its later replacement by a jump.
    write_to("/proc/sys/debug/kprobes-optimization", "0");
    write_to("/sys/kernel/tracing/kprobe_events", "p:in_nmi ___ratelimit bad=@0xffffffff00000000:u64\n");
    write_to("/sys/kernel/tracing/events/kprobes/in_nmi/enable", "1");
    for (;;) {
        write_to("/proc/sysrq-trigger", "l");
        nap(400);
    }
}

static void memory(void) {
    struct sysinfo si;
    write_to("/proc/self/oom_score_adj", "1000");
    for (;;) {
        sysinfo(&si);
        // All but 48 MiB of what is free, held for a moment: the others have to reclaim.
        long keep = 48l << 20, take = (long)(si.freeram * si.mem_unit) - keep;
        if (take < 4l << 20) {
            nap(20);
            continue;
        }
        char *p = mmap(NULL, (size_t)take, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) continue;
        for (long i = 0; i < take; i += 4096) p[i] = 1;
        nap(50);
        munmap(p, (size_t)take);
        nap(20);
    }
}

static void timers(void) {
    signal(SIGALRM, SIG_IGN);
    for (int i = 0; i < 20; i++) {
        timer_t t;
        struct itimerspec its = {{0, 200000 + i * 7000}, {0, 100000}};
        if (timer_create(CLOCK_MONOTONIC, NULL, &t) == 0) timer_settime(t, 0, &its, NULL);
    }
    for (;;) nap(1000);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (fork() != 0) continue;
        if (!strcmp(argv[i], "nmi")) nmi();
        if (!strcmp(argv[i], "memory")) memory();
        if (!strcmp(argv[i], "timers")) timers();
        return 1;
    }
    for (;;) pause();
}
