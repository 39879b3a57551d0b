// Overflow of the main and of a thread's stack: the handler on the alternate stack gets SIGSEGV with an address near
// the stack, may leave by a jump, and a second overflow works as the first. Without a handler only the process dies.
//#Libs: -pthread
//#Expect-stdout: main 3
//#Expect-stdout: thread 3
//#Expect-stdout: killed
#include "common.h"

static __thread sigjmp_buf back;
static __thread char *near_stack;

static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)ctx;
    CHECK(llabs((char *)si->si_addr - near_stack) < 16 << 20);
    siglongjmp(back, 1);
}

static __attribute__((noinline)) long dig(long n) {
    volatile char frame[512];
    frame[0] = (char)n;
    near_stack = (char *)frame;
    return dig(n + 1) + frame[0];
}

static int overflow(void) {
    stack_t st = {.ss_sp = SYS(mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
                  .ss_size = 65536};
    CHECK(sigaltstack(&st, NULL) == 0);
    volatile int n = 0;
    while (n < 3)
        if (sigsetjmp(back, 1) == 0) dig(0);
        else n++;
    return n;
}

static void *thread(void *arg) {
    *(int *)arg = overflow();
    return NULL;
}

int main(void) {
    handle(SIGSEGV, leap, SA_ONSTACK);
    printf("main %d\n", overflow());
    pthread_t t;
    int n;
    PT(pthread_create(&t, NULL, thread, &n));
    PT(pthread_join(t, NULL));
    printf("thread %d\n", n);
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        pid_t pid = SYS(fork());
        if (pid == 0) {
            // Round 0: no handler at all. Round 1: a handler, but no stack left to run it on.
            if (i == 0) signal(SIGSEGV, SIG_DFL);
            else handle(SIGSEGV, leap, 0);
            return (int)dig(0);
        }
        expect_signal(pid, SIGSEGV);
    }
    puts("killed");
    return PASS;
}
