// Every shortcut behaves like its system call: the same script, run once with each, must leave the same record of
// results, errors, data and signals.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <ukl.h>

struct calls {
    const char *name;
    ssize_t (*send)(int, const void *, size_t, int);
    ssize_t (*recv)(int, void *, size_t, int);
    ssize_t (*read)(int, void *, size_t);
    ssize_t (*write)(int, const void *, size_t);
    ssize_t (*pread)(int, void *, size_t, off_t);
    ssize_t (*pwrite)(int, const void *, size_t, off_t);
    int (*epoll_wait)(int, struct epoll_event *, int, int);
};

static const struct calls plain = {"plain", send, recv, read, write, pread, pwrite, epoll_wait};
static const struct calls shortcut = {"shortcut", ukl_send,  ukl_recv,   ukl_read,
                                      ukl_write,  ukl_pread, ukl_pwrite, ukl_epoll_wait};
static const struct calls *c;

static char record[2][1 << 17];
static char *out;
static volatile int caught;

static void note(const char *format, ...) {
    va_list args;
    va_start(args, format);
    out += vsprintf(out, format, args);
    va_end(args);
}

// Records a call's result, its error, and the first bytes it transferred.
#define TRY(call, data, size)                                                  \
    do {                                                                       \
        errno = 0;                                                             \
        long result_ = (call);                                                 \
        note("%d: %ld %d", __LINE__, result_, result_ == -1 ? errno : 0);      \
        if ((data) && result_ > 0) {                                           \
            unsigned long sum_ = 0;                                            \
            for (long i_ = 0; i_ < result_ && i_ < (long)(size); i_++)         \
                sum_ = sum_ * 31 + ((unsigned char *)(data))[i_];              \
            note(" %lx", sum_);                                                \
        }                                                                      \
        note("\n");                                                            \
    } while (0)
#define DO(call) TRY(call, (void *)0, 0)

static void must(long result, const char *what) {
    if (result < 0) perror(what), exit(1);
}

static void on_signal(int number) {
    (void)number;
    caught++;
}

static int wake_fd = -1;
static void on_alarm(int number) {
    (void)number;
    caught++;
    if (wake_fd >= 0 && write(wake_fd, "!", 1) != 1) abort();
}

static void alarm_ms(int ms, int flags, int fd) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = flags};
    struct itimerval timer = {.it_value.tv_usec = ms * 1000};
    wake_fd = fd;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

enum { UNIX_STREAM, UNIX_DGRAM, UNIX_SEQPACKET, TCP4, TCP6, UDP4, PIPE, KINDS };

static void inet_pair(int family, int type, int fd[2]) {
    struct sockaddr_storage address = {.ss_family = family};
    socklen_t size = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (family == AF_INET)
        ((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        ((struct sockaddr_in6 *)&address)->sin6_addr = in6addr_loopback;
    int one = 1, server = socket(family, type, 0);
    must(server, "socket");
    must(bind(server, (struct sockaddr *)&address, size), "bind");
    if (type == SOCK_STREAM) must(listen(server, 4), "listen");
    must(getsockname(server, (struct sockaddr *)&address, &size), "getsockname");
    fd[0] = socket(family, type, 0);
    must(connect(fd[0], (struct sockaddr *)&address, size), "connect");
    if (type == SOCK_STREAM) {
        setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fd[1] = accept(server, NULL, NULL);
        must(fd[1], "accept");
        setsockopt(fd[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        close(server);
    } else {
        fd[1] = server;
        size = sizeof address;
        must(getsockname(fd[0], (struct sockaddr *)&address, &size), "getsockname");
        must(connect(fd[1], (struct sockaddr *)&address, size), "connect");
    }
}

static void pair(int kind, int fd[2]) {
    int end[2];
    switch (kind) {
    case UNIX_STREAM: must(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), "socketpair"); break;
    case UNIX_DGRAM: must(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd), "socketpair"); break;
    case UNIX_SEQPACKET: must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd), "socketpair"); break;
    case TCP4: inet_pair(AF_INET, SOCK_STREAM, fd); break;
    case TCP6: inet_pair(AF_INET6, SOCK_STREAM, fd); break;
    case UDP4: inet_pair(AF_INET, SOCK_DGRAM, fd); break;
    default:
        must(pipe(end), "pipe");
        fd[0] = end[1], fd[1] = end[0];
    }
}

static char big[1 << 20], got[1 << 20];

// Data, flags, errors and end of file on a socket pair of each kind.
static void pairs(char *bad) {
    for (int kind = 0; kind < KINDS; kind++) {
        int fd[2];
        bool stream = kind == UNIX_STREAM || kind == TCP4 || kind == TCP6;
        note("kind %d\n", kind);
        pair(kind, fd);
        DO(c->send(fd[0], "a", 1, 0));
        TRY(c->recv(fd[1], got, 10, 0), got, 10);
        DO(c->write(fd[0], "bcd", 3));
        TRY(c->read(fd[1], got, 2), got, 2);
        DO(c->write(fd[0], "ef", 2));
        TRY(c->recv(fd[1], got, 10, MSG_PEEK), got, 10);
        TRY(c->recv(fd[1], got, 1, MSG_TRUNC | MSG_DONTWAIT), NULL, 0);
        TRY(c->recv(fd[1], got, 10, MSG_DONTWAIT), got, 10);
        TRY(c->recv(fd[1], got, 10, MSG_DONTWAIT), got, 10);
        DO(c->send(fd[0], "gh", 2, MSG_MORE | MSG_NOSIGNAL));
        DO(c->send(fd[0], "ij", 2, 0));
        if (stream) TRY(c->recv(fd[1], got, 4, MSG_WAITALL), got, 4);
        DO(c->send(fd[0], "", 0, 0));
        DO(c->write(fd[0], "", 0));
        DO(c->recv(fd[1], got, 0, MSG_DONTWAIT));
        DO(c->read(fd[1], got, 0));
        DO(c->send(fd[0], "k", 1, MSG_OOB));
        DO(c->recv(fd[1], got, 1, MSG_OOB | MSG_DONTWAIT));
        DO(c->recv(fd[1], got, 1, MSG_ERRQUEUE | MSG_DONTWAIT));
        DO(c->send(fd[0], "l", 1, 1 << 30));
        fcntl(fd[1], F_SETFL, O_NONBLOCK);
        while (read(fd[1], got, sizeof got) > 0) {}
        DO(c->recv(fd[1], got, 10, 0));
        DO(c->read(fd[1], got, 10));
        // Buffers that are unmapped, in the kernel's half, or only partly mapped.
        DO(c->send(fd[0], NULL, 4, MSG_DONTWAIT));
        DO(c->write(fd[0], bad, 4));
        DO(c->send(fd[0], (void *)-4096L, 4, MSG_DONTWAIT));
        DO(c->send(fd[0], bad - 2, 2, MSG_DONTWAIT));
        DO(c->read(fd[1], bad, 2));
        DO(send(fd[0], "mn", 2, 0));
        DO(write(fd[0], "mn", 2));
        DO(c->recv(fd[1], (void *)-4096L, 2, 0));
        DO(c->recv(fd[1], bad - 1, 2, 0));
        while (read(fd[1], got, sizeof got) > 0) {}
        // More data than the buffers hold.
        fcntl(fd[0], F_SETFL, O_NONBLOCK);
        if (kind == UNIX_STREAM) {
            DO(c->send(fd[0], big, sizeof big, 0));
            DO(c->write(fd[0], big, sizeof big));
            TRY(c->recv(fd[1], got, sizeof got, 0), got, sizeof got);
        }
        while (read(fd[1], got, sizeof got) > 0) {}
        fcntl(fd[0], F_SETFL, 0);
        fcntl(fd[1], F_SETFL, 0);
        // Time-outs, and signals with and without SA_RESTART.
        struct timeval limit = {.tv_usec = 20000};
        DO(setsockopt(fd[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
        if (kind != PIPE) DO(c->recv(fd[1], got, 10, 0));
        limit.tv_usec = 0;
        setsockopt(fd[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        alarm_ms(20, 0, -1);
        DO(c->read(fd[1], got, 10));
        alarm_ms(20, SA_RESTART, fd[0]);
        TRY(c->read(fd[1], got, 10), got, 10);
        if (kind != PIPE) {
            alarm_ms(20, 0, -1);
            DO(c->recv(fd[1], got, 10, 0));
            alarm_ms(20, SA_RESTART, fd[0]);
            TRY(c->recv(fd[1], got, 10, 0), got, 10);
        }
        note("caught %d\n", caught);
        // End of file.
        DO(c->write(fd[0], "last", 4));
        shutdown(fd[0], SHUT_WR);
        DO(c->send(fd[0], "x", 1, MSG_NOSIGNAL));
        if (kind == PIPE) close(fd[0]);
        TRY(c->read(fd[1], got, 10), got, 10);
        if (kind != UDP4 && kind != UNIX_DGRAM) DO(c->read(fd[1], got, 10));
        if (kind != PIPE) close(fd[0]);
        if (kind == UNIX_STREAM || kind == UNIX_DGRAM || kind == UNIX_SEQPACKET) {
            DO(c->send(fd[1], "x", 1, 0));
            DO(c->send(fd[1], "x", 1, MSG_NOSIGNAL));
            DO(c->write(fd[1], "x", 1));
        }
        note("caught %d\n", caught);
        close(fd[1]);
        DO(c->send(fd[1], "x", 1, 0));
        DO(c->recv(fd[1], got, 1, 0));
        DO(c->read(fd[1], got, 1));
        DO(c->write(fd[1], "x", 1));
    }
    int lone = socket(AF_INET, SOCK_STREAM, 0), packet = socket(AF_INET, SOCK_DGRAM, 0);
    DO(c->send(lone, "x", 1, 0));
    DO(c->recv(lone, got, 1, 0));
    DO(c->send(packet, "x", 1, 0));
    DO(c->recv(packet, got, 1, MSG_DONTWAIT));
    close(lone), close(packet);
}

// Files, and descriptors that are not files.
static void files(char *bad) {
    int fd = open("/tmp/ukl-shortcuts", O_RDWR | O_CREAT | O_TRUNC, 0600);
    int only = open("/tmp/ukl-shortcuts", O_WRONLY), dir = open("/", O_RDONLY);
    int path = open("/tmp/ukl-shortcuts", O_PATH), memory = memfd_create("m", 0), event = eventfd(3, 0), ends[2];
    must(pipe(ends), "pipe");
    must(fd, "open");
    if (pwrite(fd, big, 10000, 0) != 10000 || pwrite(memory, big, 100, 5000) != 100) abort();
    int some[] = {fd, only, dir, path, memory, event, ends[0], -1, 9999};
    off_t at[] = {0, 1, 4095, 4096, 9999, 10000, 10001, 5000, 5050, -1, 1l << 62};
    size_t sizes[] = {0, 1, 2, 100, 4096, 4097, 20000};
    for (size_t f = 0; f < sizeof some / sizeof *some; f++)
        for (size_t a = 0; a < sizeof at / sizeof *at; a++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                TRY(c->pread(some[f], got, sizes[s], at[a]), got, sizeof got);
    DO(c->pread(fd, bad, 4, 0));
    DO(c->pread(fd, bad - 2, 4, 0));
    DO(c->pread(fd, NULL, 4, 0));
    DO(c->pread(fd, (void *)-4096L, 4, 0));
    DO(c->pread(fd, got, -1, 0));
    must(ftruncate(fd, 100), "ftruncate");
    TRY(c->pread(fd, got, 200, 50), got, sizeof got);
    DO(c->pread(fd, got, 200, 100));
    for (size_t f = 0; f < sizeof some / sizeof *some; f++) {
        if (some[f] == ends[0]) continue;
        TRY(c->read(some[f], got, 8), got, 8);
        DO(c->send(some[f], "x", 1, 0));
        DO(c->recv(some[f], got, 1, 0));
        DO(c->write(some[f], "12345678", 8));
        DO(c->pwrite(some[f], "12", 2, 1));
    }
    DO(lseek(fd, 0, SEEK_CUR));
    // Into a mapping of the page that is read.
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    TRY(c->pread(fd, map + 8, 16, 0), map + 8, 16);
    munmap(map, 4096);
    unlink("/tmp/ukl-shortcuts");
    close(fd), close(only), close(dir), close(path), close(memory), close(event), close(ends[0]), close(ends[1]);
}

// Records the position of a descriptor.
static void where(int fd) { note("at %ld\n", (long)lseek(fd, 0, SEEK_CUR)); }

// Records the kinds of events that inotify reports.
static void events(int watcher) {
    struct inotify_event *event;
    unsigned seen = 0;
    char *at = got;
    for (char *end = at + read(watcher, got, sizeof got); at < end; at += sizeof *event + event->len) {
        event = (struct inotify_event *)at;
        seen |= event->mask;
    }
    note("events %x\n", seen);
}

// Records the process's I/O accounting.
static void charged(long before[4], int tell) {
    long now[4] = {0};
    FILE *file = fopen("/proc/self/io", "r");
    if (!file) return;
    if (fscanf(file, "rchar: %ld wchar: %ld syscr: %ld syscw: %ld", now, now + 1, now + 2, now + 3) != 4) abort();
    fclose(file);
    // Reading this file is accounted too, but by the same amount each time, except for the number of digits.
    if (tell) note("charged %ld %ld %ld\n", now[1] - before[1], now[2] - before[2], now[3] - before[3]);
    memcpy(before, now, sizeof now);
}

static void times(int fd) {
    struct stat stat;
    must(fstat(fd, &stat), "fstat");
    note("size %ld, read %d, written %d, mode %o\n", (long)stat.st_size, stat.st_atime > 1000, stat.st_mtime > 1000,
         stat.st_mode);
    struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    must(futimens(fd, old), "futimens");
}

// Reads and writes in files of this directory, at the current position and at given ones.
static void streams(const char *dir, char *bad) {
    char name[64];
    long io[4];
    sprintf(name, "%s/ukl-stream", dir);
    note("%s\n", dir);
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600), watcher = inotify_init1(IN_NONBLOCK);
    must(fd, name);
    must(inotify_add_watch(watcher, name, IN_ALL_EVENTS), "inotify");
    int in = open(name, O_RDONLY), append = open(name, O_WRONLY | O_APPEND), path = open(name, O_PATH), copy = dup(fd);
    int synced = open(name, O_RDWR | O_DSYNC);
    events(watcher);
    charged(io, 0);
    size_t sizes[] = {1, 10, 4085, 4096, 4097, 20000, 0, 3};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        DO(c->write(fd, big + i, sizes[i]));
        where(fd);
        events(watcher);
    }
    times(fd);
    charged(io, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        TRY(c->read(in, got, sizes[i]), got, sizeof got);
        where(in);
        events(watcher);
    }
    // End of file, and beyond it.
    must(lseek(in, -5, SEEK_END), "lseek");
    TRY(c->read(in, got, 4), got, sizeof got);
    TRY(c->read(in, got, sizeof got), got, sizeof got);
    DO(c->read(in, got, 1));
    must(lseek(in, 1l << 40, SEEK_SET), "lseek");
    DO(c->read(in, got, 1));
    where(in);
    events(watcher);
    charged(io, 1);
    times(fd);
    must(lseek(fd, 100000, SEEK_SET), "lseek");
    DO(c->write(fd, "hole", 4));
    TRY(c->pread(fd, got, 40000, 70000), got, sizeof got);
    // Two descriptors with a common position.
    must(lseek(fd, 10, SEEK_SET), "lseek");
    TRY(c->read(copy, got, 3), got, 3);
    TRY(c->read(fd, got, 3), got, 3);
    DO(c->write(copy, "xy", 2));
    where(fd);
    // Given positions, and O_APPEND, which ignores them.
    DO(c->pwrite(fd, "pwrite", 6, 4093));
    where(fd);
    TRY(c->pread(fd, got, 20, 4085), got, 20);
    DO(c->pwrite(append, "end", 3, 0));
    where(append);
    DO(c->write(append, "END", 3));
    where(append);
    times(fd);
    DO(c->pwrite(synced, "synced", 6, 20));
    DO(c->write(synced, "synced", 6));
    where(synced);
    TRY(c->pread(fd, got, 40, 0), got, 40);
    events(watcher);
    // Calls that are refused.
    off_t wrong[] = {-1, 1l << 62, LONG_MAX, 1l << 50};
    for (int i = 0; i < 4; i++) {
        DO(c->pwrite(fd, "x", 1, wrong[i]));
        DO(c->pread(fd, got, 1, wrong[i]));
    }
    DO(c->write(in, "x", 1));
    DO(c->pwrite(in, "x", 1, 0));
    DO(c->read(append, got, 1));
    DO(c->pread(append, got, 1, 0));
    DO(c->read(path, got, 1));
    DO(c->write(path, "x", 1));
    DO(c->pwrite(path, "x", 1, 0));
    DO(c->write(fd, big, -1));
    DO(c->pwrite(fd, big, -1, 0));
    // Buffers that are unmapped or only partly mapped.
    must(lseek(fd, 8, SEEK_SET), "lseek");
    char *addresses[] = {bad, bad - 2, NULL, (char *)-4096L};
    for (int i = 0; i < 4; i++) {
        DO(c->write(fd, addresses[i], 4));
        where(fd);
        DO(c->pwrite(fd, addresses[i], 4, 5000));
        DO(c->read(fd, addresses[i], 4));
        where(fd);
    }
    events(watcher);
    // From and to a mapping of the same page.
    char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    TRY(c->pwrite(fd, map + 3, 16, 0), map, 16);
    TRY(c->pread(fd, map + 8, 16, 0), map + 8, 16);
    DO(c->write(fd, map + 4096, 4096));
    munmap(map, 8192);
    // From the medium, if there is one, and with O_DIRECT.
    must(fsync(fd), "fsync");
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    TRY(c->pread(fd, got, 5, 4093), got, 5);
    int direct = open(name, O_RDWR | O_DIRECT);
    static char aligned[8192] __attribute__((aligned(4096)));
    memset(aligned, 'd', sizeof aligned);
    DO(c->write(direct, aligned, 4096));
    where(direct);
    TRY(c->read(direct, aligned, 4096), aligned, 4096);
    DO(c->pwrite(direct, aligned + 1, 100, 1));
    TRY(c->pread(direct, aligned, 4096, 0), aligned, 4096);
    // Beyond RLIMIT_FSIZE.
    struct rlimit limit, old;
    must(getrlimit(RLIMIT_FSIZE, &old), "getrlimit");
    limit = old;
    limit.rlim_cur = 110000;
    must(setrlimit(RLIMIT_FSIZE, &limit), "setrlimit");
    must(lseek(fd, 109998, SEEK_SET), "lseek");
    DO(c->write(fd, "limit", 5));
    DO(c->write(fd, "limit", 5));
    DO(c->pwrite(fd, "limit", 5, 200000));
    where(fd);
    note("caught %d\n", caught);
    must(setrlimit(RLIMIT_FSIZE, &old), "setrlimit");
    times(fd);
    // Set-user-ID and set-group-ID bits are cleared when an ordinary user writes.
    must(fchmod(fd, 06755), "fchmod");
    if (seteuid(1) == 0) {
        DO(c->write(fd, "x", 1));
        must(seteuid(0), "seteuid");
    }
    times(fd);
    TRY(c->pread(fd, got, 20000, 0), got, 20000);
    close(fd), close(in), close(append), close(path), close(copy), close(synced), close(direct), close(watcher);
    unlink(name);
}

// Files that are sealed after some writes.
static void seals(void) {
    int fd = memfd_create("sealed", MFD_ALLOW_SEALING);
    must(fd, "memfd_create");
    DO(c->write(fd, "before", 6));
    must(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), "seal");
    DO(c->write(fd, "behind", 6));
    DO(c->pwrite(fd, "BEFORE", 6, 0));
    must(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), "seal");
    DO(c->pwrite(fd, "before", 6, 0));
    where(fd);
    TRY(c->pread(fd, got, 10, 0), got, 10);
    close(fd);
}

static void wait_for(int ep, int max, int timeout) {
    struct epoll_event events[16] = {0};
    errno = 0;
    int count = c->epoll_wait(ep, events, max, timeout);
    note("wait %d %d:", count, count < 0 ? errno : 0);
    for (int i = 0; i < count; i++) note(" %x/%d", events[i].events, events[i].data.u32);
    note("\n");
}

static void control(int ep, int what, int fd, unsigned events, int data) {
    struct epoll_event event = {.events = events, .data.u32 = data};
    must(epoll_ctl(ep, what, fd, &event), "epoll_ctl");
}

// Every kind of readiness, in order.
static void polls(char *bad) {
    for (int kind = 0; kind < KINDS; kind++) {
        int ep = epoll_create1(0), outer = epoll_create1(0), fd[5][2];
        note("poll %d\n", kind);
        for (int i = 0; i < 5; i++) {
            pair(kind, fd[i]);
            control(ep, EPOLL_CTL_ADD, fd[i][1], EPOLLIN | EPOLLRDHUP, i);
        }
        wait_for(ep, 5, 0);
        wait_for(ep, 5, 5);
        for (int i = 0; i < 5; i++)
            if (write(fd[i][0], "x", 1) != 1) abort();
        // Level-triggered: each of them again and again, in turn.
        for (int i = 0; i < 6; i++) wait_for(ep, 2, -1);
        wait_for(ep, 16, 100);
        if (read(fd[2][1], got, 1) != 1) abort();
        wait_for(ep, 16, -1);
        // Edge-triggered, one-shot, and no interest.
        control(ep, EPOLL_CTL_MOD, fd[0][1], EPOLLIN | EPOLLET, 10);
        control(ep, EPOLL_CTL_MOD, fd[1][1], EPOLLIN | EPOLLONESHOT, 11);
        control(ep, EPOLL_CTL_MOD, fd[3][1], 0, 13);
        wait_for(ep, 16, 0);
        wait_for(ep, 16, 0);
        if (write(fd[0][0], "y", 1) != 1 || write(fd[1][0], "y", 1) != 1) abort();
        wait_for(ep, 16, 0);
        control(ep, EPOLL_CTL_MOD, fd[1][1], EPOLLIN | EPOLLONESHOT | EPOLLET, 12);
        wait_for(ep, 16, 0);
        wait_for(ep, 16, 0);
        // Nested sets.
        control(outer, EPOLL_CTL_ADD, ep, EPOLLIN, 99);
        wait_for(outer, 4, 0);
        if (kind == UNIX_STREAM || kind == TCP4 || kind == TCP6) {
            shutdown(fd[4][0], SHUT_WR);
            wait_for(ep, 16, 100);
        }
        close(fd[4][1]);
        wait_for(ep, 16, 0);
        DO(c->epoll_wait(ep, (void *)bad, 4, 0));
        if (write(fd[0][0], "z", 1) != 1) abort();
        DO(c->epoll_wait(ep, (void *)bad, 4, 0));
        DO(c->epoll_wait(ep, (void *)-4096L, 4, 0));
        wait_for(ep, 16, 0);
        wait_for(ep, 0, 0);
        wait_for(ep, -1, 0);
        wait_for(fd[0][1], 1, 0);
        wait_for(9999, 1, 0);
        control(ep, EPOLL_CTL_DEL, fd[0][1], 0, 0);
        while (c->epoll_wait(ep, (struct epoll_event *)got, 16, 0) > 0)
            for (int i = 0; i < 4; i++)
                while (recv(fd[i][1], got, 1, MSG_DONTWAIT) > 0 || (kind == PIPE && read(fd[i][1], got, 1) == 16)) {}
        for (int i = 0; i < 5; i++) close(fd[i][0]), i < 4 && close(fd[i][1]);
        close(ep), close(outer);
        ep = epoll_create1(0);
        alarm_ms(20, 0, -1);
        wait_for(ep, 4, -1);
        alarm_ms(20, SA_RESTART, -1);
        wait_for(ep, 4, -1);
        wait_for(ep, 4, 10);
        close(ep);
    }
}

// Whether an ext4 file system is mounted at /mnt.
static bool disk;

static void script(const struct calls *calls, char *where) {
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(pages + 4096, 4096);
    c = calls, out = where, caught = 0;
    pairs(pages + 4096);
    files(pages + 4096);
    streams("/tmp", pages + 4096);
    if (disk) streams("/mnt", pages + 4096);
    seals();
    polls(pages + 4096);
    munmap(pages, 4096);
}

static void compare(const char *when) {
    script(&plain, record[0]);
    script(&shortcut, record[1]);
    char *a = record[0], *b = record[1];
    int lines = 0;
    while (*a && *b) {
        size_t m = strcspn(a, "\n"), n = strcspn(b, "\n");
        if (m != n || memcmp(a, b, m)) {
            printf("%s: record %d: plain `%.*s', shortcut `%.*s'\n", when, lines, (int)m, a, (int)n, b);
            exit(1);
        }
        a += m + 1, b += n + 1, lines++;
    }
    printf("%s: alike\n", when);
    if (lines < 1000) printf("only %d records\n", lines);
}

static int stop[2];
static void *other(void *unused) {
    char x;
    return read(stop[0], &x, 1) == 1 ? unused : stop;
}

int main(int argc, char **argv) {
    (void)argv;
    setvbuf(stdout, NULL, _IONBF, 0);
    for (size_t i = 0; i < sizeof big; i++) big[i] = (char)(i * 7 + i / 4096);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL);
    if (getenv("EXT4")) {
        must(mount(getenv("EXT4"), "/mnt", "ext4", 0, ""), "mount");
        disk = true;
    }
    // Print the record of the calls by their own names.
    if (argc > 1) {
        script(&plain, record[0]);
        fputs(record[0], stdout);
        return 42;
    }
    compare("one thread");
    // With a shared descriptor table.
    pthread_t thread;
    sigset_t alarms;
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    must(pipe(stop), "pipe");
    pthread_sigmask(SIG_BLOCK, &alarms, NULL);
    if (pthread_create(&thread, NULL, other, NULL)) abort();
    pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
    compare("two threads");
    if (write(stop[1], "x", 1) != 1) abort();
    pthread_join(thread, NULL);
    return 42;
}
