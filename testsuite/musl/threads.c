// Features of musl that depend on details of its system calls: cancellation, whose signal handler checks where a call
// was interrupted; threads that unmap their own stacks; setuid, which stops every thread by a signal; and the vDSO.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x)                                                  \
    do {                                                          \
        if (!(x)) {                                               \
            printf("line %d: %s (%s)\n", __LINE__, #x, strerror(errno)); \
            exit(1);                                              \
        }                                                         \
    } while (0)

static int fd[2];
static int cleaned;
static __thread int own = 7;

static void clean(void *unused) {
    (void)unused;
    cleaned++;
}

static void *blocks(void *unused) {
    char c;
    (void)unused;
    pthread_cleanup_push(clean, NULL);
    CHECK(read(fd[0], &c, 1) != 1);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *spins(void *unused) {
    (void)unused;
    pthread_cleanup_push(clean, NULL);
    for (;;) pthread_testcancel();
    pthread_cleanup_pop(0);
    return NULL;
}

static void *leaves(void *sem) {
    own++;
    CHECK(own == 8);
    sem_post(sem);
    return NULL;
}

static void *sleeps(void *unused) {
    struct timespec long_time = {60, 0};

    (void)unused;
    nanosleep(&long_time, NULL);
    return NULL;
}

static void *waits(void *set) {
    int sig;
    CHECK(sigwait(set, &sig) == 0);
    return (void *)(long)sig;
}

int main(int argc, char **argv) {
    pthread_t t;
    void *result;
    unsigned short cs;

    __asm__("mov %%cs, %0" : "=r"(cs));
    if (getenv("WANT_RING")) CHECK((cs & 3) == atoi(getenv("WANT_RING")));

    if (argc > 1) return 3;

    CHECK(!pipe(fd));
    for (int i = 0; i < 20; i++) {
        CHECK(!pthread_create(&t, NULL, i % 2 ? blocks : spins, NULL));
        usleep(i * 500);
        CHECK(!pthread_cancel(t));
        CHECK(!pthread_join(t, &result));
        CHECK(result == PTHREAD_CANCELED && cleaned == i + 1);
    }
    puts("cancelled 20");

    // Detached threads unmap their own stacks, so their last system call has nowhere to return to.
    pthread_attr_t detached;
    sem_t sem;
    sem_init(&sem, 0, 0);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < 200; i++) {
        CHECK(!pthread_create(&t, &detached, leaves, &sem));
        while (sem_wait(&sem)) CHECK(errno == EINTR);
    }
    puts("left 200");

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    CHECK(!pthread_create(&t, NULL, waits, &set));
    pthread_kill(t, SIGUSR1);
    pthread_join(t, &result);
    printf("waited for %s\n", (long)result == SIGUSR1 ? "SIGUSR1" : "something else");

    CHECK(!pthread_create(&t, NULL, sleeps, NULL));
    if (geteuid() == 0) CHECK(!seteuid(1) && geteuid() == 1 && !seteuid(0));
    pthread_cancel(t);
    pthread_join(t, &result);
    puts("changed the user in all threads");

    for (int i = 0; i < 50; i++) {
        int status;
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (!pid) _exit(i);
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == i);
    }
    puts("forked 50");

    // A vfork child uses this process's memory until it executes another program.
    char *words[] = {argv[0], "child", NULL};
    pid_t child;
    int status;
    CHECK(!posix_spawn(&child, "/proc/self/exe", NULL, NULL, words, environ));
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 3);
    CHECK(posix_spawn(&child, "/no/such/program", NULL, NULL, words, environ) == ENOENT);
    puts("spawned");

    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 0; i < 100000; i++) clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK(after.tv_sec > before.tv_sec || after.tv_nsec > before.tv_nsec);
    puts("the clock goes on");
    return 42;
}
