// exec from one of several running threads ends the others; the new image has the process's pid and one thread.
//#Libs: -pthread
//#Expect-stdout: same process, one thread
#include "common.h"
#include <dirent.h>

static void *spin(void *arg) {
    volatile long n = 0;
    for (;;) n++;
    return arg;
}

static void *block(void *arg) {
    for (;;) pause();
    return arg;
}

static void *leader(void *arg) {
    char pid[16];
    snprintf(pid, sizeof pid, "%d", getpid());
    sleep_ms(30);
    execl("/proc/self/exe", "self", pid, NULL);
    CHECK(!"exec");
    return arg;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        CHECK_EQ(atoi(argv[1]), getpid());
        CHECK_EQ(gettid(), getpid());
        int n = 0;
        DIR *d = opendir("/proc/self/task");
        CHECK(d != NULL);
        for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
        CHECK_EQ(n, 1);
        puts("same process, one thread");
        return PASS;
    }
    pthread_t t;
    for (int i = 0; i < 3; i++) PT(pthread_create(&t, NULL, i ? block : spin, NULL));
    PT(pthread_create(&t, NULL, leader, NULL));
    for (;;) pause();
}
