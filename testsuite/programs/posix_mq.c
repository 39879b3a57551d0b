// POSIX message queues: priorities, timeouts, notification by signal.
//#Libs: -lrt -pthread
//#Expect-stdout: by priority: 3 2 1
//#Expect-stdout: timed out
//#Expect-stdout: notified
#include "common.h"
#include <mqueue.h>

static volatile int notified;
static void note(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)ctx;
    CHECK_EQ(si->si_code, SI_MESGQ);
    notified++;
}

int main(void) {
    char name[40], text[64];
    snprintf(name, sizeof name, "/ukl-%d", getpid());
    struct mq_attr attr = {.mq_maxmsg = 4, .mq_msgsize = 64};
    mqd_t q = mq_open(name, O_CREAT | O_RDWR, 0600, &attr);
    CHECK(q != (mqd_t)-1);
    CHECK(mq_unlink(name) == 0);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        for (unsigned i = 1; i <= 3; i++) CHECK(mq_send(q, (char[]){(char)('0' + i)}, 1, i) == 0);
        _exit(0);
    }
    expect_exit(pid, 0);
    printf("by priority:");
    for (unsigned i = 3, prio; i; i--) {
        CHECK(mq_receive(q, text, sizeof text, &prio) == 1 && prio == i);
        printf(" %c", text[0]);
    }
    puts("");
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_nsec += 20000000;
    if (ts.tv_nsec >= 1000000000) ts.tv_sec++, ts.tv_nsec -= 1000000000;
    CHECK(mq_timedreceive(q, text, sizeof text, NULL, &ts) == -1 && errno == ETIMEDOUT);
    puts("timed out");
    handle(SIGUSR1, note, 0);
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    CHECK(mq_notify(q, &ev) == 0);
    CHECK(mq_send(q, "x", 1, 0) == 0);
    while (!notified) sched_yield();
    puts("notified");
    return PASS;
}
