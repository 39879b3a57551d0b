// 1,000 threads in turn, and 200 at once.
//#Libs: -pthread
//#Expect-stdout: in turn 1000
//#Expect-stdout: at once 200
#include "common.h"

static int done;
static pthread_barrier_t barrier;

static void *once(void *arg) {
    __atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
    return arg;
}

static void *together(void *arg) {
    pthread_barrier_wait(&barrier);
    return once(arg);
}

int main(void) {
    for (intptr_t i = 0; i < 1000; i++) {
        pthread_t t;
        void *r;
        PT(pthread_create(&t, NULL, once, (void *)i));
        PT(pthread_join(t, &r));
        CHECK_EQ(r, i);
    }
    printf("in turn %d\n", done);
    done = 0;
    pthread_t t[200];
    PT(pthread_barrier_init(&barrier, NULL, 200));
    for (intptr_t i = 0; i < 200; i++) PT(pthread_create(&t[i], NULL, together, (void *)i));
    for (intptr_t i = 0; i < 200; i++) {
        void *r;
        PT(pthread_join(t[i], &r));
        CHECK_EQ(r, i);
    }
    printf("at once %d\n", done);
    return PASS;
}
