// What system calls cost: the same code as an ordinary process at ring 3 and at ring 0 by each transition, in one boot.
// The time stamp counter counts guest instructions under `ukl-run --icount`, and time otherwise.
//
// At ring 0 it starts its ring-3 variant (the first argument), which prints its figures to the pipe. The second argument
// is the address of the kernel's own getppid: called by itself, it shows what of the cost is not the transition's.
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
#include <unistd.h>
#include <x86intrin.h>

enum { BYPASS = 0x10000000, ROUNDS = 9 };

static int null, file, pair[2], client, server, epoll, ready;
static char byte[8];
static struct pollfd polled = {.events = POLLIN};
static struct epoll_event got;

#define CASES(X)                                                                                   \
    X("getppid", 2000, getppid())                                                                  \
    X("write 1 byte to /dev/null", 2000, write(null, byte, 1))                                     \
    X("pread 1 byte, cached page", 1000, pread(file, byte, 1, 0))                                  \
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

static int smaller(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static __attribute__((noinline)) void nothing(void) { __asm__ volatile(""); }

// The median over the rounds of what one call of a function takes, less the call of the function and the loop around it.
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
    must((file = mkstemp(name)) >= 0 && write(file, byte, 8) == 8 && unlink(name) == 0, "a file in /tmp");
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

static void measure(const char *mode, FILE *to) {
#define X(name, count, expression) fprintf(to, "%s|%s|%.1f\n", mode, name, MEASURE(count, expression));
    CASES(X)
#undef X
}

// At ring 0 only: nothing may interrupt a kernel function on the program's stack.
static double direct(long (*function)(void *)) {
    __asm__ volatile("cli");
    double cost = MEASURE(500, function(byte));  // its own call is taken off
    __asm__ volatile("sti");
    return cost;
}

int main(int argc, char **argv) {
    prepare();
    if (ring() == 3) {
        measure("ring 3", stdout);
        return 0;
    }
    must(argc == 3, "usage: bench RING3-PROGRAM ADDRESS");
    int status;
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        execl(argv[1], argv[1], NULL);
        must(0, argv[1]);
    }
    must(waitpid(pid, &status, 0) == pid && status == 0, "the ring-3 variant");
    int before = personality(0xffffffff);
    personality(before & ~BYPASS);
    measure("base", stdout);
    personality(before | BYPASS);
    measure("bypass", stdout);
    printf("function|getppid|%.1f\n", direct((long (*)(void *))strtoul(argv[2], NULL, 16)));
    return 0;
}
