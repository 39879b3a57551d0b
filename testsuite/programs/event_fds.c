// eventfd, timerfd and signalfd, alone and through poll.
//#Libs: -pthread
//#Expect-stdout: eventfd 1000
//#Expect-stdout: timerfd ticked
//#Expect-stdout: signalfd 3
#include "common.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static int efd;
static void *post(void *arg) {
    for (int i = 0; i < 250; i++) CHECK(eventfd_write(efd, 1) == 0);
    return arg;
}

int main(void) {
    efd = SYS(eventfd(0, EFD_CLOEXEC));
    pthread_t t[4];
    for (int i = 0; i < 4; i++) PT(pthread_create(&t[i], NULL, post, NULL));
    uint64_t sum = 0, v;
    while (sum < 1000) {
        CHECK(read(efd, &v, 8) == 8);
        sum += v;
    }
    for (int i = 0; i < 4; i++) PT(pthread_join(t[i], NULL));
    printf("eventfd %lu\n", sum);
    int sem = SYS(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK));
    for (int i = 0; i < 3; i++) CHECK(read(sem, &v, 8) == 8 && v == 1);
    CHECK(read(sem, &v, 8) == -1 && errno == EAGAIN);

    int tfd = SYS(timerfd_create(CLOCK_MONOTONIC, 0));
    struct itimerspec its = {{0, 5000000}, {0, 5000000}}, now;
    CHECK(timerfd_settime(tfd, 0, &its, NULL) == 0);
    uint64_t ticks = 0;
    while (ticks < 10) {
        CHECK(read(tfd, &v, 8) == 8 && v >= 1);
        ticks += v;
    }
    CHECK(timerfd_gettime(tfd, &now) == 0 && now.it_interval.tv_nsec == 5000000);
    puts("timerfd ticked");

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGCHLD);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    int sfd = SYS(signalfd(-1, &set, SFD_NONBLOCK));
    kill(getpid(), SIGUSR1);
    sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = 55});
    pid_t pid = SYS(fork());
    if (pid == 0) _exit(3);
    int seen = 0;
    struct signalfd_siginfo si;
    while (seen < 3) {
        struct pollfd p = {.fd = sfd, .events = POLLIN};
        CHECK(poll(&p, 1, 10000) == 1);
        CHECK(read(sfd, &si, sizeof si) == sizeof si);
        if (si.ssi_signo == SIGUSR2) CHECK_EQ(si.ssi_int, 55);
        if (si.ssi_signo == SIGCHLD) CHECK(si.ssi_pid == (uint32_t)pid && si.ssi_status == 3);
        seen++;
    }
    expect_exit(pid, 3);
    printf("signalfd %d\n", seen);
    return PASS;
}
