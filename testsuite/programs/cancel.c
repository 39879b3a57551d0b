// pthread_cancel at blocked calls: the thread unwinds out of the call through its cleanup handlers, in order. And
// deferred, disabled and asynchronous cancellation.
//#Libs: -pthread
//#CFlags: -fexceptions
//#Timeout: 120
//#Expect-stdout: read
//#Expect-stdout: nanosleep
//#Expect-stdout: sem_wait
//#Expect-stdout: accept
//#Expect-stdout: poll
//#Expect-stdout: cond_wait
//#Expect-stdout: join
//#Expect-stdout: pause
//#Expect-stdout: write
//#Expect-stdout: waitpid
//#Expect-stdout: asynchronous
//#Expect-stdout: disabled
#include "common.h"
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/socket.h>

enum { READ, NANOSLEEP, SEM_WAIT, ACCEPT, POLL, COND_WAIT, JOIN, PAUSE, WRITE, WAITPID, ASYNC, DISABLED, KINDS };
static const char *names[] = {"read", "nanosleep", "sem_wait", "accept", "poll", "cond_wait",
                              "join", "pause", "write", "waitpid", "asynchronous", "disabled"};

struct cleanup {
    int kind, order;
    pid_t tid;
    int ready, cancelled;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int in_fd[2], full_fd[2], listener;
static pid_t sleeper;

static void first(void *arg) {
    struct cleanup *c = arg;
    CHECK_EQ(c->order, 1);
    c->order = 2;
}
static void second(void *arg) {
    struct cleanup *c = arg;
    CHECK_EQ(c->order, 0);
    c->order = 1;
}
static void unlock(void *arg) {
    // Cancellation of a condition wait takes the mutex again first.
    CHECK_EQ(pthread_mutex_trylock(&lock), EBUSY);
    PT(pthread_mutex_unlock(arg));
}
static void *forever(void *arg) {
    for (;;) pause();
    return arg;
}

static void block(struct cleanup *c) {
    char byte;
    sem_t sem;
    pthread_t other;
    int status;
    struct pollfd p = {.fd = in_fd[0], .events = POLLIN};
    static char big[1 << 17];
    volatile unsigned long spin = 0;
    __atomic_store_n(&c->tid, gettid(), __ATOMIC_SEQ_CST);
    switch (c->kind) {
    case READ: read(in_fd[0], &byte, 1); break;
    case NANOSLEEP: sleep(1000); break;
    case SEM_WAIT: sem_init(&sem, 0, 0), sem_wait(&sem); break;
    case ACCEPT: accept(listener, NULL, NULL); break;
    case POLL: poll(&p, 1, -1); break;
    case COND_WAIT:
        PT(pthread_mutex_lock(&lock));
        pthread_cleanup_push(unlock, &lock);
        for (;;) pthread_cond_wait(&cond, &lock);
        pthread_cleanup_pop(0);
        break;
    case JOIN:
        PT(pthread_create(&other, NULL, forever, NULL));
        pthread_join(other, NULL);
        break;
    case PAUSE: pause(); break;
    case WRITE: while (write(full_fd[1], big, sizeof big) > 0) continue; break;
    case WAITPID: waitpid(sleeper, &status, 0); break;
    case ASYNC:
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
        __atomic_store_n(&c->ready, 1, __ATOMIC_SEQ_CST);
        for (;;) spin++;
    case DISABLED:
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        __atomic_store_n(&c->ready, 1, __ATOMIC_SEQ_CST);
        // Not for a fixed time: on a busy machine the other thread may be that late.
        while (!__atomic_load_n(&c->cancelled, __ATOMIC_SEQ_CST)) usleep(500);
        CHECK_EQ(c->order, 0);
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
        pthread_testcancel();
    }
    CHECK(!"reached");
}

static void *victim(void *arg) {
    pthread_cleanup_push(first, arg);
    pthread_cleanup_push(second, arg);
    block(arg);
    pthread_cleanup_pop(0);
    pthread_cleanup_pop(0);
    return NULL;
}

static int asleep(pid_t tid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    int fd = open(path, O_RDONLY);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    char *p = strrchr(text, ')');
    return p && p[2] == 'S';
}

int main(void) {
    SYS(pipe(in_fd));
    SYS(pipe(full_fd));
    listener = SYS(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    SYS(bind(listener, (struct sockaddr *)&any, sizeof any));
    SYS(listen(listener, 1));
    sleeper = SYS(fork());
    if (sleeper == 0)
        for (;;) pause();
    for (int kind = 0; kind < KINDS; kind++) {
        for (int round = 0; round < 5; round++) {
            struct cleanup c = {.kind = kind};
            pthread_t t;
            PT(pthread_create(&t, NULL, victim, &c));
            while (!__atomic_load_n(&c.tid, __ATOMIC_SEQ_CST)) sched_yield();
            if (kind >= ASYNC) while (!__atomic_load_n(&c.ready, __ATOMIC_SEQ_CST)) sched_yield();
            // Rounds differ in how long the victim has been blocked; round 0 may find it on its way in.
            if (round && kind < ASYNC) for (int n = 0; n < round; usleep(500)) n += asleep(c.tid);
            PT(pthread_cancel(t));
            if (kind == DISABLED) __atomic_store_n(&c.cancelled, 1, __ATOMIC_SEQ_CST);
            void *r;
            PT(pthread_join(t, &r));
            CHECK(r == PTHREAD_CANCELED);
            CHECK_EQ(c.order, 2);
        }
        puts(names[kind]);
    }
    kill(sleeper, SIGKILL);
    waitpid(sleeper, NULL, 0);
    return PASS;
}
