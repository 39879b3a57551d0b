// Threads that move themselves, and each other, from CPU to CPU while they compute and call.
//#Libs: -pthread
//#Expect-stdout: migrated
#include "common.h"

static int cpus, stop;

static void *hop(void *arg) {
    uint64_t sum = 0;
    for (int i = 0; i < 300; i++) {
        int want = (i + (int)(intptr_t)arg) % cpus;
        pin(want);
        CHECK_EQ(sched_getcpu(), want);
        for (int j = 0; j < 1000; j++) sum = sum * 31 + j;
        CHECK(getppid() > 0);
    }
    __atomic_add_fetch(&stop, 1, __ATOMIC_SEQ_CST);
    return (void *)(uintptr_t)sum;
}

static pid_t victim;
static int where, rounds, released;
static void *pushed(void *arg) {
    volatile double x = 1.0;
    while (!__atomic_load_n(&released, __ATOMIC_SEQ_CST)) {
        x = x * 1.5 / 1.5;
        CHECK(x > 0.99 && x < 1.01);
        __atomic_store_n(&where, sched_getcpu(), __ATOMIC_SEQ_CST);
        __atomic_add_fetch(&rounds, 1, __ATOMIC_SEQ_CST);
        __atomic_store_n(&victim, gettid(), __ATOMIC_SEQ_CST);
    }
    return arg;
}

int main(void) {
    cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t t[4], p;
    PT(pthread_create(&p, NULL, pushed, NULL));
    while (!__atomic_load_n(&victim, __ATOMIC_SEQ_CST)) sched_yield();
    for (int i = 0; i < 4; i++) PT(pthread_create(&t[i], NULL, hop, (void *)(intptr_t)i));
    for (int i = 0; i < 20 || __atomic_load_n(&stop, __ATOMIC_SEQ_CST) < 4; i++) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(i % cpus, &set);
        CHECK(sched_setaffinity(victim, sizeof set, &set) == 0);
        // The first of these rounds may have begun before.
        int before = __atomic_load_n(&rounds, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&rounds, __ATOMIC_SEQ_CST) - before < 2) sched_yield();
        CHECK_EQ(__atomic_load_n(&where, __ATOMIC_SEQ_CST), i % cpus);
    }
    __atomic_store_n(&released, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 4; i++) PT(pthread_join(t[i], NULL));
    PT(pthread_join(p, NULL));
    printf("migrated\n");
    return PASS;
}
