// Thread-local storage: initial values, alignment, a large block, keys with destructors; in main, threads and a
// forked child.
//#Libs: -pthread
//#Expect-stdout: threads ok
//#Expect-stdout: destructors 16
//#Expect-stdout: child ok
#include "common.h"

static __thread int number = 12345;
static __thread char text[] = "initial";
static __thread int zero;
static __thread char big[64 * 1024];
static __thread __attribute__((aligned(64))) long aligned = -1;
static pthread_key_t key;
static int destroyed;

static void destroy(void *value) {
    CHECK(value != NULL);
    __atomic_add_fetch(&destroyed, 1, __ATOMIC_SEQ_CST);
}

static void fresh(void) {
    CHECK_EQ(number, 12345);
    CHECK(strcmp(text, "initial") == 0);
    CHECK_EQ(zero, 0);
    CHECK_EQ(aligned, -1);
    CHECK_EQ((uintptr_t)&aligned % 64, 0);
    for (size_t i = 0; i < sizeof big; i++) CHECK_EQ(big[i], 0);
}

static void *use(void *arg) {
    int me = (int)(intptr_t)arg;
    fresh();
    PT(pthread_setspecific(key, arg));
    number = me, zero = me, aligned = me;
    memset(big, me, sizeof big);
    for (int i = 0; i < 50; i++) {
        sched_yield();
        CHECK_EQ(number, me);
        CHECK_EQ(zero, me);
        CHECK_EQ(aligned, me);
        CHECK_EQ(big[i * 1000], me);
        errno = me;
        sched_yield();
        CHECK_EQ(errno, me);
    }
    return NULL;
}

int main(void) {
    fresh();
    PT(pthread_key_create(&key, destroy));
    pthread_t t[16];
    for (int i = 0; i < 16; i++) PT(pthread_create(&t[i], NULL, use, (void *)(intptr_t)(i + 1)));
    for (int i = 0; i < 16; i++) PT(pthread_join(t[i], NULL));
    fresh();
    printf("threads ok\ndestructors %d\n", destroyed);
    fflush(stdout);
    number = 99;
    pid_t pid = SYS(fork());
    if (pid == 0) {
        CHECK_EQ(number, 99);
        number = 100;
        _exit(0);
    }
    expect_exit(pid, 0);
    CHECK_EQ(number, 99);
    printf("child ok\n");
    return PASS;
}
