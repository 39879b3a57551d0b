// fork while other threads run, allocate and fork too; atfork handlers run; the child has one thread and a usable heap.
//#Libs: -pthread
//#Expect-stdout: forked 200
//#Expect-stdout: handlers ran
#include "common.h"

static int stop, prepared, forks;
static __thread int in_child;

static void prepare(void) { __atomic_add_fetch(&prepared, 1, __ATOMIC_SEQ_CST); }
static void child_side(void) { in_child = 1; }

static void *churn(void *arg) {
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        void *p[16];
        for (int i = 0; i < 16; i++) CHECK((p[i] = malloc(1u << (i % 12))) != NULL);
        for (int i = 0; i < 16; i++) free(p[i]);
    }
    return arg;
}

static void *forker(void *arg) {
    for (int i = 0; i < 50; i++) {
        pid_t pid = SYS(fork());
        if (pid == 0) {
            CHECK(in_child);
            char *p = malloc(5000);
            CHECK(p != NULL);
            memset(p, 1, 5000);
            free(p);
            CHECK_EQ(gettid(), getpid());
            _exit(6);
        }
        expect_exit(pid, 6);
        __atomic_add_fetch(&forks, 1, __ATOMIC_SEQ_CST);
    }
    return arg;
}

int main(void) {
    PT(pthread_atfork(prepare, NULL, child_side));
    pthread_t c[2], f[4];
    for (int i = 0; i < 2; i++) PT(pthread_create(&c[i], NULL, churn, NULL));
    for (int i = 0; i < 4; i++) PT(pthread_create(&f[i], NULL, forker, NULL));
    for (int i = 0; i < 4; i++) PT(pthread_join(f[i], NULL));
    stop = 1;
    for (int i = 0; i < 2; i++) PT(pthread_join(c[i], NULL));
    printf("forked %d\n", forks);
    CHECK_EQ(prepared, 200);
    puts("handlers ran");
    return PASS;
}
