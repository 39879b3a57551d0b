// Run to completion on one processor, against a thread that always wants to run.
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <ukl.h>

static volatile unsigned long other;

static void *spin(void *arg) {
    for (;;) other++;
    return arg;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// Returns how far the other thread gets while this one keeps the processor busy for a while.
static unsigned long meanwhile(double seconds) {
    double end = now() + seconds;
    unsigned long before = other;
    while (now() < end) {
    }
    return other - before;
}

int main(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, spin, NULL) != 0) return 1;
    while (!other) sched_yield();
    unsigned long shared = meanwhile(0.5);
    if (!shared) return 2;

    if (ukl_run_to_completion(true) != 0 || ukl_run_to_completion(true) != 0) {
        perror("ukl_run_to_completion");
        return 3;
    }
    if (meanwhile(0.3)) return 4;
    puts("not preempted");

    // It ends when the thread blocks.
    struct timespec moment = {0, 50000000};
    unsigned long before = other;
    nanosleep(&moment, NULL);
    if (other == before) return 5;
    puts("not while it blocks");

    // The watchdog gives others some time.
    if (!meanwhile(3)) return 6;
    puts("but bounded");

    if (ukl_run_to_completion(false) != 0) return 7;
    if (!meanwhile(0.5)) return 8;
    puts("and over");
    return 42;
}
