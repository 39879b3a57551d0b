// Calls of kernel code: arguments, sleeping, floating point across it, signals, threads, faults.
#define _GNU_SOURCE
#include "calls.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define CHECK(what) ((what) ? (void)0 : (printf("%d: %s\n", __LINE__, #what), exit(1)))

static volatile int ticks;
static void tick(int number) {
    (void)number;
    ticks++;
}

static void *thread(void *unused) {
    char text[64];
    volatile double x = 0;
    for (int i = 0; i < 200; i++) {
        double before = i * 1.25;
        CHECK(add(i, 0, 0, 0, 0, 1) == 100000 + i);
        CHECK(describe(text, sizeof text) > 40);
        if (i % 20 == 0) CHECK(sleep_a_little(1) == gettid());
        x += before - i * 1.25;
    }
    CHECK(x == 0);
    return unused;
}

int main(void) {
    char text[64];
    setvbuf(stdout, NULL, _IONBF, 0);
    CHECK(add(1, 2, 3, 4, 5, 6) == 654321);
    volatile double third = 1.0 / 3;
    double seven = third * 21;
    CHECK(sleep_a_little(20) == getpid());
    CHECK(seven == third * 21);
    CHECK(describe(text, sizeof text) == (long)strlen(text));
    puts(text);
    CHECK(describe((char *)8, sizeof text) == -EFAULT);
    CHECK(is_odd(0) == 0 && is_odd(1) == 1 && is_odd(0) == 1 && is_odd(1) == 0);
    CHECK(has_css_sets() == 1);
    long value = 77;
    CHECK(peek(&value) == 77);
    long *pages = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(peek(pages + 4096) == 0 && peek((void *)8) == -EFAULT);
    // Thousands of interrupts, each with a signal, hit every instruction sooner or later.
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    struct itimerval timer = {{0, 1000}, {0, 1000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    while (ticks < 300)
        for (int i = 0; i < 1000; i++) CHECK(add(i, 1, 0, 0, 0, 0) == 10 + i);
    CHECK(sleep_a_little(30) == getpid());
    timer = (struct itimerval){0};
    setitimer(ITIMER_REAL, &timer, NULL);
    puts("signals");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(!pthread_create(&threads[i], NULL, thread, NULL));
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    puts("threads");
    return 42;
}
