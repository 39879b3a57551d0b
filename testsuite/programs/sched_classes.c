// Scheduling classes: a real-time loop that never calls the kernel is preempted by a higher one and does not lock the rest
// out for ever; deadline, batch and idle classes take and return.
//#Skip-host: needs root
//#Calm: takes the CPUs for itself
//#Libs: -pthread
//#Timeout: 120
//#Expect-stdout: higher ones preempt
//#Expect-stdout: others still run
//#Expect-stdout: classes
#include "common.h"

static volatile long low, high;
static volatile int stop;

static void class(int policy, int priority) {
    struct sched_param sp = {.sched_priority = priority};
    CHECK(sched_setscheduler(0, policy, &sp) == 0);
}

static void *spin(void *arg) {
    pin((int)(intptr_t)arg);
    class(SCHED_FIFO, 10);
    while (!stop) low++;
    return NULL;
}

static void *tick(void *arg) {
    pin(0);
    class(SCHED_FIFO, 20);
    for (int i = 0; i < 50; i++) {
        sleep_ms(5);
        high++;
    }
    return arg;
}

int main(void) {
    int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t s[64], t;
    PT(pthread_create(&t, NULL, tick, NULL));
    for (intptr_t i = 0; i < cpus; i++) PT(pthread_create(&s[i], NULL, spin, (void *)i));
    PT(pthread_join(t, NULL));
    CHECK(high == 50 && low > 0);
    puts("higher ones preempt");
    // This thread is in the ordinary class, and every CPU runs a real-time loop.
    int64_t until = now_ns(CLOCK_MONOTONIC) + 2000000000ll;
    long turns = 0;
    while (now_ns(CLOCK_MONOTONIC) < until) {
        sleep_ms(1);
        turns++;
    }
    CHECK(turns > 0);
    stop = 1;
    for (int i = 0; i < cpus; i++) PT(pthread_join(s[i], NULL));
    puts("others still run");
    class(SCHED_RR, 5);
    sched_yield();
    class(SCHED_IDLE, 0);
    sched_yield();
    class(SCHED_BATCH, 0);
    class(SCHED_OTHER, 0);
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attr = {.size = 48, .policy = 6, .runtime = 2000000, .deadline = 20000000, .period = 20000000};
    CHECK(syscall(SYS_sched_setattr, 0, &attr, 0) == 0);
    for (int i = 0; i < 5; i++) sched_yield();
    class(SCHED_OTHER, 0);
    puts("classes");
    return PASS;
}
