// poll, ppoll, select and pselect: readiness, hang-up, timeouts, and a signal let in atomically by the mask.
//#Expect-stdout: ready
//#Expect-stdout: hung up
//#Expect-stdout: timed out
//#Expect-stdout: signal let in
#include "common.h"
#include <poll.h>
#include <sys/select.h>

static volatile int hits;
static void hit(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    hits++;
}

int main(void) {
    int fd[2];
    SYS(pipe(fd));
    struct pollfd p[2] = {{.fd = fd[0], .events = POLLIN}, {.fd = fd[1], .events = POLLOUT}};
    CHECK(poll(p, 2, 0) == 1 && p[0].revents == 0 && p[1].revents == POLLOUT);
    CHECK(write(fd[1], "x", 1) == 1);
    CHECK(poll(p, 2, -1) == 2 && p[0].revents == POLLIN);
    fd_set r;
    FD_ZERO(&r);
    FD_SET(fd[0], &r);
    CHECK(select(fd[0] + 1, &r, NULL, NULL, NULL) == 1 && FD_ISSET(fd[0], &r));
    puts("ready");
    char c;
    CHECK(read(fd[0], &c, 1) == 1);
    close(fd[1]);
    CHECK(poll(p, 1, -1) == 1 && (p[0].revents & POLLHUP));
    p[0].fd = 999;
    CHECK(poll(p, 1, 0) == 1 && p[0].revents == POLLNVAL);
    puts("hung up");
    SYS(pipe(fd));
    p[0].fd = fd[0];
    int64_t start = now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(poll(p, 1, 30), 0);
    struct timeval tv = {0, 30000};
    FD_ZERO(&r);
    FD_SET(fd[0], &r);
    CHECK_EQ(select(fd[0] + 1, &r, NULL, NULL, &tv), 0);
    struct timespec ts = {0, 30000000};
    CHECK_EQ(ppoll(p, 1, &ts, NULL), 0);
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 90000000);
    puts("timed out");
    handle(SIGUSR1, hit, 0);
    sigset_t block, none;
    sigemptyset(&none);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &block, NULL) == 0);
    for (int i = 0; i < 20; i++) {
        raise(SIGUSR1);
        CHECK_EQ(hits, 2 * i);
        CHECK(ppoll(p, 1, NULL, &none) == -1 && errno == EINTR);
        CHECK_EQ(hits, 2 * i + 1);
        raise(SIGUSR1);
        FD_ZERO(&r);
        FD_SET(fd[0], &r);
        CHECK(pselect(fd[0] + 1, &r, NULL, NULL, NULL, &none) == -1 && errno == EINTR);
        CHECK_EQ(hits, 2 * i + 2);
    }
    puts("signal let in");
    return PASS;
}
