// Cancellation is a forced unwind: C++ destructors run, catch (...) sees it and has to pass it on.
//#Libs: -pthread
//#Expect-stdout: destructors 2, caught 1
#include "common.h"
#include <cxxabi.h>

static int destroyed, caught, fd[2];
struct Guard {
    ~Guard() { destroyed++; }
};

static __attribute__((noinline)) void inner() {
    Guard g;
    char c;
    if (read(fd[0], &c, 1) < 0) _exit(5);
}

static void *victim(void *) {
    Guard g;
    try {
        inner();
    } catch (abi::__forced_unwind &) {
        caught++;
        throw;
    }
    return NULL;
}

int main() {
    SYS(pipe(fd));
    pthread_t t;
    PT(pthread_create(&t, NULL, victim, NULL));
    sleep_ms(50);
    PT(pthread_cancel(t));
    void *r;
    PT(pthread_join(t, &r));
    CHECK(r == PTHREAD_CANCELED);
    CHECK_EQ(destroyed, 2);
    CHECK_EQ(caught, 1);
    printf("destructors %d, caught %d\n", destroyed, caught);
    return PASS;
}
