// sigaltstack: the handler runs on it, SS_ONSTACK is reported, nested handlers stay on it, SA_ONSTACK off stays off,
// and threads have their own.
//#Libs: -pthread
//#Expect-stdout: on it
//#Expect-stdout: off it
//#Expect-stdout: thread on its own
#include "common.h"

static char *low;
static size_t size;
static volatile int ran, inner;

static int on_stack(void) {
    char here;
    return &here >= low && &here < low + size;
}

static void nested(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    CHECK(on_stack());
    inner++;
}

static void outer(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si;
    CHECK(on_stack());
    stack_t now;
    CHECK(sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_ONSTACK));
    stack_t try = {.ss_sp = low, .ss_size = size};
    CHECK(sigaltstack(&try, NULL) == -1 && errno == EPERM);
    CHECK(((ucontext_t *)ctx)->uc_stack.ss_sp == low);
    CHECK(raise(SIGUSR2) == 0);
    ran++;
}

static void plain(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    CHECK(!on_stack());
    ran++;
}

static void set_up(void) {
    size = 64 * 1024;
    low = SYS(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    stack_t st = {.ss_sp = low, .ss_size = size};
    CHECK(sigaltstack(&st, NULL) == 0);
}

static void *thread(void *arg) {
    stack_t now;
    CHECK(sigaltstack(NULL, &now) == 0 && now.ss_flags == SS_DISABLE);
    set_up();
    CHECK(raise(SIGUSR1) == 0);
    return arg;
}

int main(void) {
    set_up();
    handle(SIGUSR1, outer, SA_ONSTACK);
    handle(SIGUSR2, nested, SA_ONSTACK);
    CHECK(raise(SIGUSR1) == 0);
    CHECK(ran == 1 && inner == 1);
    puts("on it");
    handle(SIGUSR1, plain, 0);
    CHECK(raise(SIGUSR1) == 0);
    CHECK(ran == 2);
    puts("off it");
    handle(SIGUSR1, outer, SA_ONSTACK);
    pthread_t t;
    PT(pthread_create(&t, NULL, thread, NULL));
    PT(pthread_join(t, NULL));
    CHECK(ran == 3 && inner == 2);
    puts("thread on its own");
    return PASS;
}
