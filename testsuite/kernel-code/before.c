// Prints what a system call spends before the protocol or the page cache does its work: in the kernel's own function,
// which is what a bypassed call calls, and in the shortcut.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ukl.h>

long count(int way, int kind, int what, int fd, int inner, void *buf);
enum { SEND, RECEIVE, WAIT, FILE_PREAD, FILE_READ, FILE_PWRITE, FILE_WRITE };
static int failed;

static void row(const char *kind, const char *what, const long best[3]) {
    long plain = best[1] - best[0], shortcut = best[2] - best[0];
    printf("%-5s %-11s %8ld %8ld %8ld %8ld %8ld %7.0f %%\n", kind, what, best[1], best[2], best[0], plain, shortcut,
           100.0 * (plain - shortcut) / plain);
    if (shortcut * 100 > plain * 80) failed = 1;
}

static void keep(long *best, long now) {
    if (now < 0) abort();
    if (now < *best) *best = now;
}

static void sockets(const char *name, int kind, int from, int to) {
    long send[3] = {99999, 99999, 99999}, receive[3] = {99999, 99999, 99999}, wait[3] = {99999, 99999, 99999};
    struct epoll_event event = {.events = EPOLLIN};
    char buf[64];
    int ep = epoll_create1(0);
    epoll_ctl(ep, EPOLL_CTL_ADD, to, &event);
    for (int i = 0; i < 600; i++) {
        keep(&send[i % 3], count(i % 3, kind, SEND, from, from, buf));
        keep(&wait[i % 3], count(i % 3, kind, WAIT, i % 3 ? ep : to, to, buf));
        keep(&receive[i % 3], count(i % 3, kind, RECEIVE, to, to, buf));
    }
    row(name, "send", send);
    row(name, "receive", receive);
    row(name, "epoll_wait", wait);
}

int main(void) {
    int fd[2], server = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setvbuf(stdout, NULL, _IONBF, 0);
    printf("                     whole    whole protocol   before   before\n");
    printf("                     plain shortcut             plain shortcut    less\n");
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd)) return 1;
    sockets("unix", 0, fd[0], fd[1]);
    bind(server, (struct sockaddr *)&address, size), listen(server, 1);
    getsockname(server, (struct sockaddr *)&address, &size);
    fd[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd[0], (struct sockaddr *)&address, size)) return 1;
    fd[1] = accept(server, NULL, NULL);
    setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    sockets("tcp", 1, fd[0], fd[1]);
    fd[0] = socket(AF_INET, SOCK_DGRAM, 0), fd[1] = socket(AF_INET, SOCK_DGRAM, 0);
    address.sin_port = 0;
    bind(fd[1], (struct sockaddr *)&address, size);
    getsockname(fd[1], (struct sockaddr *)&address, &size);
    if (connect(fd[0], (struct sockaddr *)&address, size)) return 1;
    sockets("udp", 2, fd[0], fd[1]);
    static const char *const calls[] = {[FILE_PREAD] = "pread", "read", "pwrite", "write"};
    char buf[64] = "x";
    int file = open("/tmp/cached", O_RDWR | O_CREAT, 0600);
    if (write(file, buf, sizeof buf) != sizeof buf || lseek(file, 0, SEEK_SET)) return 1;
    for (int call = FILE_PREAD; call <= FILE_WRITE; call++) {
        long best[3] = {99999, 99999, 99999};
        for (int i = 0; i < 600; i++) keep(&best[i % 3], count(i % 3, 0, call, file, file, buf));
        row("tmpfs", calls[call], best);
    }
    return failed ? 1 : 42;
}
