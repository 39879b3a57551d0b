// Threads and futexes over several CPUs: mutex, condition variable, barrier, and a raw futex ping-pong between two
// pinned threads.
//#Libs: -pthread
//#Expect-stdout: mutex 80000
//#Expect-stdout: cond 2000
//#Expect-stdout: barrier 800
//#Expect-stdout: pingpong 2000
#include "common.h"
#include <linux/futex.h>

enum { THREADS = 8 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static long counter, produced, consumed, barriers;
static int queue;
static int ball;

static void *count(void *arg) {
    (void)arg;
    for (int i = 0; i < 10000; i++) {
        pthread_mutex_lock(&lock);
        counter++;
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void *produce(void *arg) {
    (void)arg;
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&lock);
        while (queue >= 4) pthread_cond_wait(&cond, &lock);
        queue++, produced++;
        pthread_cond_broadcast(&cond);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void *consume(void *arg) {
    (void)arg;
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&lock);
        while (queue == 0) pthread_cond_wait(&cond, &lock);
        queue--, consumed++;
        pthread_cond_broadcast(&cond);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void *meet(void *arg) {
    (void)arg;
    for (int i = 0; i < 100; i++) {
        __atomic_add_fetch(&barriers, 1, __ATOMIC_SEQ_CST);
        pthread_barrier_wait(&barrier);
        // Everybody of the round has arrived before anybody goes on.
        CHECK(__atomic_load_n(&barriers, __ATOMIC_SEQ_CST) >= (i + 1) * THREADS);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void *player(void *arg) {
    int me = (int)(intptr_t)arg;
    pin(me % (int)sysconf(_SC_NPROCESSORS_ONLN));
    for (int i = 0; i < 1000; i++) {
        int seen;
        while ((seen = __atomic_load_n(&ball, __ATOMIC_SEQ_CST)) % 2 != me)
            syscall(SYS_futex, &ball, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
        __atomic_add_fetch(&ball, 1, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &ball, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    return NULL;
}

static void all(int n, void *(*even)(void *), void *(*odd)(void *)) {
    pthread_t t[THREADS];
    for (int i = 0; i < n; i++) PT(pthread_create(&t[i], NULL, i % 2 ? odd : even, (void *)(intptr_t)i));
    for (int i = 0; i < n; i++) PT(pthread_join(t[i], NULL));
}

int main(void) {
    all(THREADS, count, count);
    printf("mutex %ld\n", counter);
    all(THREADS, produce, consume);
    CHECK_EQ(produced, consumed);
    printf("cond %ld\n", produced);
    PT(pthread_barrier_init(&barrier, NULL, THREADS));
    all(THREADS, meet, meet);
    printf("barrier %ld\n", barriers);
    all(2, player, player);
    printf("pingpong %d\n", ball);
    return PASS;
}
