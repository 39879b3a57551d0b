// setjmp/longjmp across frames, sigsetjmp restoring the mask, out of handlers on and off the alternate stack.
//#Expect-stdout: 10000 jumps
//#Expect-stdout: masks restored 100
#include "common.h"

static jmp_buf plain;
static sigjmp_buf masked;

static __attribute__((noinline)) void throw_from(int depth) {
    volatile char frame[200];
    frame[0] = 1;
    if (depth) throw_from(depth - 1);
    longjmp(plain, 7);
}

static volatile int leaps;
static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    leaps++;
    siglongjmp(masked, 1);
}

int main(void) {
    volatile int n = 0;
    for (volatile int i = 0; i < 10000; i++) {
        int r = setjmp(plain);
        if (r == 0) throw_from(i % 20);
        CHECK_EQ(r, 7);
        n++;
    }
    printf("%d jumps\n", n);
    stack_t st = {.ss_sp = malloc(65536), .ss_size = 65536};
    CHECK(sigaltstack(&st, NULL) == 0);
    for (volatile int i = 0; i < 100; i++) {
        handle(SIGUSR1, leap, i % 2 ? SA_ONSTACK : 0);
        if (sigsetjmp(masked, 1) == 0) {
            raise(SIGUSR1);
            CHECK(!"reached");
        }
        sigset_t now;
        CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0);
        CHECK(!sigismember(&now, SIGUSR1));
        stack_t alt;
        CHECK(sigaltstack(NULL, &alt) == 0 && !(alt.ss_flags & SS_ONSTACK));
    }
    printf("masks restored %d\n", leaps);
    return PASS;
}
