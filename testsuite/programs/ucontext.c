// makecontext and swapcontext: coroutines on stacks of their own, signals delivered while on one, setcontext out of a
// handler.
//#Expect-stdout: 3 coroutines, 3000 switches
//#Expect-stdout: interrupted on a coroutine
//#Expect-stdout: left a handler 10
#include "common.h"
#include <ucontext.h>

static ucontext_t main_context, co[3];
static char stacks[3][65536];
static int switches;
static volatile int ticks;

static void body(int me) {
    for (int i = 0; i < 1000; i++) {
        char here;
        CHECK(&here > stacks[me] && &here < stacks[me] + sizeof stacks[me]);
        switches++;
        if (i % 100 == 0) CHECK(getppid() > 0);
        swapcontext(&co[me], &co[(me + 1) % 3]);
    }
    // co[0] ends first; the others are dropped with it.
}

static void tick(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    ticks++;
}

static void leave(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    setcontext(&main_context);
    CHECK(!"reached");
}

static void spin(void) {
    while (ticks < 20) {
    }
}

int main(void) {
    for (int i = 0; i < 3; i++) {
        CHECK(getcontext(&co[i]) == 0);
        co[i].uc_stack.ss_sp = stacks[i];
        co[i].uc_stack.ss_size = sizeof stacks[i];
        co[i].uc_link = &main_context;
        makecontext(&co[i], (void (*)(void))body, 1, i);
    }
    CHECK(swapcontext(&main_context, &co[0]) == 0);
    CHECK(switches >= 3000 - 2);
    printf("3 coroutines, %d switches\n", switches);
    handle(SIGALRM, tick, SA_RESTART);
    struct itimerval fast = {{0, 1000}, {0, 1000}};
    CHECK(setitimer(ITIMER_REAL, &fast, NULL) == 0);
    getcontext(&co[0]);
    co[0].uc_link = &main_context;
    makecontext(&co[0], spin, 0);
    CHECK(swapcontext(&main_context, &co[0]) == 0);
    puts("interrupted on a coroutine");
    handle(SIGUSR1, leave, 0);
    volatile int left = 0;
    for (volatile int i = 0; i < 10; i++) {
        volatile int again = 0;
        CHECK(getcontext(&main_context) == 0);
        if (!again++) {
            raise(SIGUSR1);
            CHECK(!"reached");
        }
        left++;
        // The context has the signal mask of before.
        sigset_t now;
        CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0 && !sigismember(&now, SIGUSR1));
    }
    printf("left a handler %d\n", left);
    return PASS;
}
