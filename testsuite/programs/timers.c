// POSIX timers (signal, thread), interval timers of all three clocks, alarm, sleeps of every kind:
// never early; no promise on late.
//#Libs: -pthread -lrt
//#Expect-stdout: sleeps not early
//#Expect-stdout: timer signals
//#Expect-stdout: timer threads
//#Expect-stdout: interval timers
//#Expect-stdout: alarm
//#Expect-stdout: cpu clocks
#include "common.h"

static volatile int hits, vt, prof;
static volatile int value;

static void hit(int sig, siginfo_t *si, void *ctx) {
    (void)ctx;
    if (sig == SIGVTALRM) vt++;
    else if (sig == SIGPROF) prof++;
    else hits++, value = si->si_value.sival_int;
}

static void on_thread(union sigval v) {
    __atomic_add_fetch((int *)v.sival_ptr, 1, __ATOMIC_SEQ_CST);
}

int main(void) {
    for (int i = 0; i < 20; i++) {
        int64_t start = now_ns(CLOCK_MONOTONIC);
        struct timespec ts = {0, 3000000 + i * 100000};
        if (i % 2) {
            CHECK(nanosleep(&ts, NULL) == 0);
        } else {
            struct timespec until = {(start + ts.tv_nsec) / 1000000000, (start + ts.tv_nsec) % 1000000000};
            CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == 0);
        }
        CHECK(now_ns(CLOCK_MONOTONIC) - start >= ts.tv_nsec);
    }
    struct timespec bad = {0, 1000000000};
    CHECK(nanosleep(&bad, NULL) == -1 && errno == EINVAL);
    puts("sleeps not early");

    handle(SIGRTMIN + 1, hit, SA_RESTART);
    handle(SIGALRM, hit, SA_RESTART);
    handle(SIGVTALRM, hit, SA_RESTART);
    handle(SIGPROF, hit, SA_RESTART);
    timer_t timer;
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = 17};
    CHECK(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0);
    struct itimerspec its = {{0, 2000000}, {0, 2000000}};
    CHECK(timer_settime(timer, 0, &its, NULL) == 0);
    while (hits < 20) pause();
    CHECK_EQ(value, 17);
    CHECK(timer_getoverrun(timer) >= 0);
    CHECK(timer_delete(timer) == 0);
    puts("timer signals");

    int count = 0;
    ev = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_thread,
                           .sigev_value.sival_ptr = &count};
    CHECK(timer_create(CLOCK_REALTIME, &ev, &timer) == 0);
    CHECK(timer_settime(timer, 0, &its, NULL) == 0);
    while (__atomic_load_n(&count, __ATOMIC_SEQ_CST) < 10) sleep_ms(2);
    CHECK(timer_delete(timer) == 0);
    puts("timer threads");

    hits = 0;
    struct itimerval fast = {{0, 2000}, {0, 2000}}, off = {{0, 0}, {0, 0}};
    CHECK(setitimer(ITIMER_REAL, &fast, NULL) == 0);
    CHECK(setitimer(ITIMER_VIRTUAL, &fast, NULL) == 0);
    CHECK(setitimer(ITIMER_PROF, &fast, NULL) == 0);
    while (hits < 10 || vt < 5 || prof < 5) {
    }
    CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
    CHECK(setitimer(ITIMER_VIRTUAL, &off, NULL) == 0);
    CHECK(setitimer(ITIMER_PROF, &off, NULL) == 0);
    puts("interval timers");

    hits = 0;
    alarm(1);
    CHECK(alarm(1) == 1);
    while (!hits) pause();
    puts("alarm");

    // Time spent in the program counts as user time, or profilers and limits would be blind.
    int64_t cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID), own = now_ns(CLOCK_THREAD_CPUTIME_ID);
    volatile long spin = 0;
    while (now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu < 50000000) spin++;
    CHECK(now_ns(CLOCK_THREAD_CPUTIME_ID) > own);
    puts("cpu clocks");
    return PASS;
}
