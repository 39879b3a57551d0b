// Signal delivery: siginfo, masks, nesting, SA_NODEFER, SA_RESETHAND, queued real-time signals in order, signals to a
// thread, sigwaitinfo, sigsuspend.
//#Libs: -pthread
//#Expect-stdout: info ok
//#Expect-stdout: nested depth 3
//#Expect-stdout: masked ok
//#Expect-stdout: queue 1 2 3 4 5
//#Expect-stdout: reset ok
//#Expect-stdout: thread ok
//#Expect-stdout: waited ok
#include "common.h"

static volatile int depth, deepest, got, seen[16], count;
static volatile pid_t from;
static pthread_t thread;

static void info(int sig, siginfo_t *si, void *ctx) {
    CHECK(ctx != NULL);
    CHECK_EQ(si->si_signo, sig);
    CHECK_EQ(si->si_code, SI_USER);
    from = si->si_pid;
    got++;
}

static void nest(int sig, siginfo_t *si, void *ctx) {
    (void)si, (void)ctx;
    if (++depth > deepest) deepest = depth;
    if (depth < 3) CHECK(raise(sig == SIGUSR1 ? SIGUSR2 : SIGUSR1) == 0);
    depth--;
}

static void queued(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)ctx;
    CHECK_EQ(si->si_code, SI_QUEUE);
    seen[count++] = si->si_value.sival_int;
}

static void on_thread(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    CHECK(pthread_equal(pthread_self(), thread));
    got = 77;
}

static void *idle(void *arg) {
    while (!got) sched_yield();
    return arg;
}

int main(void) {
    handle(SIGUSR1, info, 0);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK_EQ(got, 1);
    CHECK_EQ(from, getpid());
    puts("info ok");

    handle(SIGUSR1, nest, SA_NODEFER);
    handle(SIGUSR2, nest, SA_NODEFER);
    CHECK(raise(SIGUSR1) == 0);
    printf("nested depth %d\n", deepest);

    got = 0;
    handle(SIGUSR1, info, 0);
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK_EQ(got, 0);
    sigset_t pending;
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1));
    CHECK(sigsuspend(&old) == -1 && errno == EINTR);
    CHECK_EQ(got, 1);
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    CHECK_EQ(got, 1);
    puts("masked ok");

    int rt = SIGRTMIN + 3;
    handle(rt, queued, 0);
    sigemptyset(&set);
    sigaddset(&set, rt);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    for (int i = 1; i <= 5; i++) CHECK(sigqueue(getpid(), rt, (union sigval){.sival_int = i}) == 0);
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    printf("queue");
    for (int i = 0; i < count; i++) printf(" %d", seen[i]);
    puts("");

    handle(SIGUSR2, info, SA_RESETHAND);
    CHECK(kill(getpid(), SIGUSR2) == 0);
    struct sigaction sa;
    CHECK(sigaction(SIGUSR2, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL);
    puts("reset ok");

    got = 0;
    handle(SIGUSR1, on_thread, 0);
    PT(pthread_create(&thread, NULL, idle, NULL));
    PT(pthread_kill(thread, SIGUSR1));
    PT(pthread_join(thread, NULL));
    CHECK_EQ(got, 77);
    puts("thread ok");

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = 31}) == 0);
    siginfo_t si;
    CHECK_EQ(sigwaitinfo(&set, &si), SIGUSR2);
    CHECK_EQ(si.si_value.sival_int, 31);
    struct timespec ts = {0, 10000000};
    CHECK(sigtimedwait(&set, &si, &ts) == -1 && errno == EAGAIN);
    puts("waited ok");
    return PASS;
}
