// System calls on stacks that are not the thread's own: above it in memory, below it, and inside another thread's stack,
// alternating with its own, while signals arrive.
//#Libs: -pthread
//#Expect-stdout: above
//#Expect-stdout: below
//#Expect-stdout: another thread's
#include "common.h"
#include <ucontext.h>

enum { SIZE = 128 * 1024, ROUNDS = 300 };

static ucontext_t own, other;
static volatile int rounds;
static volatile int ticks[3];
static char *stacks[3];
static pthread_barrier_t lent, given_back;

static void tick(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    char here;
    for (int i = 0; i < 3; i++) ticks[i] += &here >= stacks[i] && &here < stacks[i] + SIZE;
}

// Calls without arguments, with some, with errors, and one that blocks.
static void calls(void) {
    struct timespec moment = {0, 20000};
    char byte = 7;
    int ends[2];
    for (int i = 0; i < 60; i++) CHECK(getppid() > 0);
    SYS(pipe(ends));
    CHECK(write(ends[1], &byte, 1) == 1 && read(ends[0], &byte, 1) == 1);
    CHECK(read(-1, &byte, 1) == -1 && errno == EBADF);
    close(ends[0]), close(ends[1]);
    nanosleep(&moment, NULL);
}

static void body(void) {
    for (;;) {
        calls();
        rounds++;
        swapcontext(&other, &own);
    }
}

static void *borrower(void *arg) {
    static const char *const names[] = {"above", "below", "another thread's"};
    pthread_barrier_wait(&lent);
    CHECK((char *)&arg < stacks[0] && (char *)&arg > stacks[1]);
    for (int which = 0; which < 3; which++) {
        CHECK(getcontext(&other) == 0);
        other.uc_stack.ss_sp = stacks[which];
        other.uc_stack.ss_size = SIZE;
        makecontext(&other, body, 0);
        rounds = 0;
        int i = 0;
        for (; i < ROUNDS || !ticks[which]; i++) {
            calls();
            CHECK(swapcontext(&own, &other) == 0);
        }
        CHECK_EQ(rounds, i);
        puts(names[which]);
    }
    pthread_barrier_wait(&given_back);
    return arg;
}

static void *lender(void *arg) {
    char part[SIZE];
    mask(SIG_BLOCK, SIGALRM);
    calls();
    stacks[2] = part;
    pthread_barrier_wait(&lent);
    pthread_barrier_wait(&given_back);
    calls();
    return arg;
}

int main(void) {
    pthread_t lending, borrowing;
    pthread_attr_t attr;
    size_t size = 512 * 1024;
    // mmap allocates addresses from the top down.
    char *parts[4];
    for (int i = 0; i < 4; i++) {
        parts[i] = SYS(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        CHECK(i == 0 || parts[i] < parts[i - 1]);
    }
    stacks[0] = parts[0], stacks[1] = parts[3];
    handle(SIGALRM, tick, SA_RESTART);
    struct itimerval fast = {{0, 500}, {0, 500}};
    CHECK(setitimer(ITIMER_REAL, &fast, NULL) == 0);
    PT(pthread_barrier_init(&lent, NULL, 2));
    PT(pthread_barrier_init(&given_back, NULL, 2));
    PT(pthread_attr_init(&attr));
    PT(pthread_attr_setstack(&attr, parts[1], size));
    PT(pthread_create(&lending, &attr, lender, NULL));
    PT(pthread_attr_setstack(&attr, parts[2], size));
    PT(pthread_create(&borrowing, &attr, borrower, NULL));
    mask(SIG_BLOCK, SIGALRM);
    PT(pthread_join(lending, NULL));
    PT(pthread_join(borrowing, NULL));
    return PASS;
}
