// main leaves by pthread_exit; the last thread ends the process. Detached threads, and exit() from a thread.
//#Libs: -pthread
//#Expect-stdout: child said 7
//#Expect-stdout: last thread
#include "common.h"

static void *last(void *arg) {
    pthread_t *main_thread = arg;
    PT(pthread_join(*main_thread, NULL));
    printf("last thread\n");
    exit(PASS);
}

static void *leave(void *arg) {
    _exit((int)(intptr_t)arg);
}

int main(void) {
    static pthread_t me, t;
    pid_t pid = SYS(fork());
    if (pid == 0) {
        PT(pthread_create(&t, NULL, leave, (void *)7));
        for (;;) pause();
    }
    expect_exit(pid, 7);
    printf("child said 7\n");
    me = pthread_self();
    PT(pthread_create(&t, NULL, last, &me));
    PT(pthread_detach(t));
    pthread_exit(NULL);
}
