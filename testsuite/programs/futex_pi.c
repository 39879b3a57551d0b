// Priority-inheritance mutexes, which enter the kernel's rt_mutex code on a contended lock.
//#Libs: -pthread
//#Expect-stdout: contended
//#Expect-stdout: 4000
#include "common.h"
#include <linux/futex.h>

static pthread_mutex_t lock;
static long counter;

static void *work(void *arg) {
    for (int i = 0; i < 1000; i++) {
        PT(pthread_mutex_lock(&lock));
        long seen = counter;
        if (i % 50 == 0) sched_yield();
        counter = seen + 1;
        PT(pthread_mutex_unlock(&lock));
    }
    return arg;
}

int main(void) {
    pthread_mutexattr_t attr;
    PT(pthread_mutexattr_init(&attr));
    PT(pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT));
    PT(pthread_mutex_init(&lock, &attr));
    pthread_t t[4];
    // They begin with a lock that they have to wait for in the kernel, which marks it.
    PT(pthread_mutex_lock(&lock));
    for (int i = 0; i < 4; i++) PT(pthread_create(&t[i], NULL, work, NULL));
    while (!(__atomic_load_n(&lock.__data.__lock, __ATOMIC_SEQ_CST) & (int)FUTEX_WAITERS)) sched_yield();
    PT(pthread_mutex_unlock(&lock));
    puts("contended");
    for (int i = 0; i < 4; i++) PT(pthread_join(t[i], NULL));
    printf("%ld\n", counter);
    return PASS;
}
