// A futex in MAP_SHARED memory between processes: a process-shared mutex, a robust mutex whose owner dies, and a raw
// FUTEX_WAIT with a timeout.
//#Libs: -pthread
//#Expect-stdout: counted 8000
//#Expect-stdout: owner died, recovered
//#Expect-stdout: timed out
#include "common.h"
#include <linux/futex.h>

struct shared {
    pthread_mutex_t lock, robust;
    long counter;
    int word;
};

int main(void) {
    struct shared *s =
        SYS(mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    pthread_mutexattr_t attr;
    PT(pthread_mutexattr_init(&attr));
    PT(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED));
    PT(pthread_mutex_init(&s->lock, &attr));
    PT(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST));
    PT(pthread_mutex_init(&s->robust, &attr));

    pid_t pid[4];
    for (int i = 0; i < 4; i++) {
        pid[i] = SYS(fork());
        if (pid[i] == 0) {
            for (int j = 0; j < 2000; j++) {
                pthread_mutex_lock(&s->lock);
                long seen = s->counter;
                if (j % 100 == 0) sched_yield();
                s->counter = seen + 1;
                pthread_mutex_unlock(&s->lock);
            }
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++) expect_exit(pid[i], 0);
    printf("counted %ld\n", s->counter);

    fflush(stdout);
    pid_t owner = SYS(fork());
    if (owner == 0) {
        pthread_mutex_lock(&s->robust);
        _exit(5);
    }
    expect_exit(owner, 5);
    CHECK_EQ(pthread_mutex_lock(&s->robust), EOWNERDEAD);
    PT(pthread_mutex_consistent(&s->robust));
    PT(pthread_mutex_unlock(&s->robust));
    PT(pthread_mutex_lock(&s->robust));
    printf("owner died, recovered\n");

    struct timespec ts = {0, 20000000};
    CHECK_EQ(syscall(SYS_futex, &s->word, FUTEX_WAIT, 0, &ts, NULL, 0), -1);
    CHECK_EQ(errno, ETIMEDOUT);
    printf("timed out\n");
    return PASS;
}
