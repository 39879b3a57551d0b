// Measures system calls, faults and interrupts: the same code as an ordinary process at ring 3, and at ring 0 with each
// policy, in one boot. The time stamp counter counts guest instructions under `ukl-run --icount`, and time otherwise.
//
// At ring 0 it starts its ring-3 variant (the first argument), the one linked without shortcuts (the second), the one
// for shared stacks (the third), the ring-3 variant marked for ring 0 (the fourth) and one that is linked dynamically
// (the fifth, compiled with -DDYNAMIC), which write their figures to a pipe. Kernel code calls the kernel's getppid function, which shows how much of the cost does not belong to the
// transition.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

// As ukl.h has them.
enum { BYPASS = 0x10000000, RET = 0x20000000, SHARED = 0x40000000, ALL = BYPASS | RET | SHARED };
enum { ROUNDS = 9, PAGES = 64 };

// Kernel code, ticks.c.
long ticks_start(long ns);
long ticks_stop(void);
long ticks_of_getppid(long calls);

static int null, file, in, out, pair[2], client, server, epoll, ready;
static char byte[8];
static struct pollfd polled = {.events = POLLIN};
static struct epoll_event got;

#define CASES(X)                                                                                   \
    X("getppid", 2000, getppid())                                                                  \
    X("write 1 byte to /dev/null", 2000, write(null, byte, 1))                                     \
    X("pread 1 byte, cached page", 1000, pread(file, byte, 1, 0))                                  \
    X("read 1 byte, cached page", 1000, read(in, byte, 1))                                         \
    X("write 1 byte, cached page", 1000, write(out, byte, 1))                                      \
    X("poll, one ready", 1000, poll(&polled, 1, 0))                                                \
    X("epoll_wait, one ready", 1000, epoll_wait(epoll, &got, 1, 0))                                \
    X("Unix socket send + recv, 1 byte", 500, (write(pair[0], byte, 1), read(pair[1], byte, 8)))   \
    X("TCP loopback send + recv, 1 byte", 200, (write(client, byte, 1), read(server, byte, 8)))    \
    X("mmap, 64 faults, munmap", 10, touch())

static long touch(void) {
    char *p = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 64; i++) p[i * 4096] = 1;
    return munmap(p, 64 * 4096);
}

static char *pages;

static void fault(void) {
    for (int i = 0; i < PAGES; i++) pages[i * 4096] = 1;
}

static int smaller(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static __attribute__((noinline)) void nothing(void) { __asm__ volatile(""); }

// The median over the rounds of the cost of evaluating `expression` once, without the cost of the loop.
#define MEASURE(count, expression) ({                                                              \
    uint64_t t_[ROUNDS];                                                                           \
    for (int r_ = 0; r_ < ROUNDS; r_++) {                                                          \
        uint64_t from_ = __rdtsc();                                                                \
        for (int i_ = 0; i_ < (count); i_++) nothing();                                            \
        uint64_t mid_ = __rdtsc();                                                                 \
        for (int i_ = 0; i_ < (count); i_++) expression;                                           \
        t_[r_] = (__rdtsc() - mid_) - (mid_ - from_);                                              \
    }                                                                                              \
    qsort(t_, ROUNDS, sizeof t_[0], smaller);                                                      \
    (double)t_[ROUNDS / 2] / (count);                                                              \
})

static void must(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "bench: error: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static void prepare(void) {
    must((null = open("/dev/null", O_WRONLY)) >= 0, "/dev/null");
    char name[] = "/tmp/bench.XXXXXX";
    // Long enough for everything that is read from and written to it.
    static char content[1 << 20];
    must((file = mkstemp(name)) >= 0 && write(file, content, sizeof content) == sizeof content, "a file in /tmp");
    must((in = open(name, O_RDONLY)) >= 0 && (out = open(name, O_WRONLY)) >= 0 && unlink(name) == 0, name);
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    int pipes[2];
    must(pipe(pipes) == 0 && write(pipes[1], byte, 1) == 1, "pipe");
    polled.fd = ready = pipes[0];
    must((epoll = epoll_create1(0)) >= 0, "epoll_create1");
    struct epoll_event event = {.events = EPOLLIN};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, ready, &event) == 0, "epoll_ctl");
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    must(bind(listener, (void *)&at, sizeof at) == 0 && listen(listener, 1) == 0, "listen");
    must(getsockname(listener, (void *)&at, &size) == 0, "getsockname");
    client = socket(AF_INET, SOCK_STREAM, 0);
    must(connect(client, (void *)&at, sizeof at) == 0, "connect");
    must((server = accept(listener, NULL, NULL)) >= 0, "accept");
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static int ring(void) {
    unsigned short cs;
    __asm__("mov %%cs, %0" : "=r"(cs));
    return cs & 3;
}

// The most frequent cost of a single getppid: one in so many calls takes the full path.
static double single(void) {
    enum { CALLS = 1001 };
    static uint64_t t[CALLS];
    uint64_t none[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t from = __rdtsc();
        nothing();
        none[i] = __rdtsc() - from;
    }
    qsort(none, ROUNDS, sizeof none[0], smaller);
    for (int i = 0; i < CALLS; i++) {
        uint64_t from = __rdtsc();
        getppid();
        t[i] = __rdtsc() - from;
    }
    qsort(t, CALLS, sizeof t[0], smaller);
    return (double)t[CALLS / 2] - (double)none[ROUNDS / 2];
}

static void measure(const char *mode, FILE *to) {
#define X(name, count, expression) fprintf(to, "%s|%s|%.1f\n", mode, name, MEASURE(count, expression));
    CASES(X)
#undef X
    fprintf(to, "%s|most|%.1f\n", mode, single());
    fflush(to);
}

// The same code wherever it is called.
static __attribute__((noinline)) uint64_t spin(int rounds) {
    uint64_t from = __rdtsc();
    for (int i = 0; i < rounds; i++) __asm__ volatile("");
    return __rdtsc() - from;
}

// The cost of a page fault.
static void faults(const char *mode, FILE *to) {
    uint64_t t[ROUNDS];
    pages = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(pages != MAP_FAILED, "mmap");
    for (int round = 0; round < ROUNDS; round++) {
        madvise(pages, PAGES * 4096, MADV_DONTNEED);
        uint64_t from = __rdtsc();
        fault();
        t[round] = __rdtsc() - from;
    }
    qsort(t, ROUNDS, sizeof t[0], smaller);
    fprintf(to, "%s|page fault|%.1f\n", mode, (double)t[ROUNDS / 2] / PAGES);
    munmap(pages, PAGES * 4096);
    fflush(to);
}

// The cost of an interrupt that comes every `period` ticks of the time stamp counter: the median of intervals that are
// too short to contain an ordinary timer tick.
static void interrupts(const char *mode, double period, FILE *to) {
    enum { SPIN = 500000, STRETCHES = 41 };
    uint64_t t[STRETCHES];
    for (int i = 0; i < STRETCHES; i++) t[i] = spin(SPIN);
    qsort(t, STRETCHES, sizeof t[0], smaller);
    // Without interrupts: intervals too short for one.
    uint64_t quiet[2] = {~0ul, ~0ul};
    for (int i = 0; i < 400; i++) {
        uint64_t moment = spin(i % 2 ? SPIN / 500 : SPIN / 1000);
        if (moment < quiet[i % 2]) quiet[i % 2] = moment;
    }
    double busy = (double)t[STRETCHES / 2], idle = 1000.0 * (double)(quiet[1] - quiet[0]);
    fprintf(to, "%s|timer interrupt|%.1f\n", mode, (busy - idle) / (busy / period));
    fflush(to);
}

static void policy(int bits) {
    int now = personality(0xffffffff);
    must(personality((now & ~ALL) | bits) != -1, "personality");
    // Do what the first call of each kind has to set up.
    for (int i = 0; i < 300; i++) getppid();
}

#ifndef DYNAMIC
static void start(const char *program, const char *as) {
    int status;
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        execl(program, program, as, NULL);
        must(0, program);
    }
    must(waitpid(pid, &status, 0) == pid && status == 0, program);
}

#endif

enum { PERIOD = 50000 };

int main(int argc, char **argv) {
    prepare();
    if (ring() == 3) {
        if (strcmp(argv[1], "interrupts") == 0) {
            interrupts("ring 3", PERIOD, stdout);
            return 0;
        }
        measure("ring 3", stdout);
        faults("ring 3", stdout);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "shared") == 0) {
        policy(BYPASS | SHARED);
        measure("shared", stdout);
        must(personality(0xffffffff) & SHARED, "sharing the stack");
        return 0;
    }
    if (argc == 2 && (strcmp(argv[1], "syscall") == 0 || strcmp(argv[1], "dynamic") == 0)) {
        policy(BYPASS);
        measure(argv[1], stdout);
        return 0;
    }
#ifndef DYNAMIC
    if (argc == 2) {
        policy(0);
        measure("base", stdout);
        faults("iret", stdout);
        policy(RET);
        faults("ret", stdout);
        policy(BYPASS);
        measure("bypass", stdout);
        return 0;
    }
    must(argc == 8, "usage: bench RING3 PLAIN SHARED SYSCALL DYNAMIC ROUNDS INTERRUPTS");
    for (int round = atoi(argv[6]); round > 0; round--) {
        start(argv[1], "calls");
        start(argv[2], "plain");
        start(argv[3], "shared");
        start(argv[4], "syscall");
        start(argv[5], "dynamic");
        policy(BYPASS);
        measure("shortcuts", stdout);
    }
    printf("function|getppid|%.1f\n", ticks_of_getppid(500) / 500.0);
    // The period equals counter ticks only if the counter counts nanoseconds.
    if (atoi(argv[7])) {
        // Timers are coarse until the guest has calibrated its clock.
        struct timespec resolution, moment = {0, 50000000};
        for (int i = 0; i < 200 && clock_getres(CLOCK_MONOTONIC, &resolution) == 0 && resolution.tv_nsec != 1; i++)
            nanosleep(&moment, NULL);
        must(ticks_start(PERIOD) == 0, "the timer");
        start(argv[1], "interrupts");
        policy(0);
        interrupts("iret", PERIOD, stdout);
        policy(RET);
        interrupts("ret", PERIOD, stdout);
        ticks_stop();
    }
#endif
    return 0;
}
