// A call through a NULL function pointer (and one near it) is the program's fault: SIGSEGV, handled, repeatedly, and
// on several threads; the handler finds its way back through the return address.
//#Libs: -pthread
//#Expect-stdout: 40 calls of nothing
//#Expect-stdout: returned from nothing
#include "common.h"
#include <ucontext.h>

static __thread sigjmp_buf back;
static void (*volatile nothing)(void);
static int total;

static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig;
    ucontext_t *uc = ctx;
    CHECK(si->si_addr == (void *)uc->uc_mcontext.gregs[REG_RIP]);
    CHECK((uintptr_t)si->si_addr < 4096);
    siglongjmp(back, 1);
}

static void ret(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si;
    greg_t *g = ((ucontext_t *)ctx)->uc_mcontext.gregs;
    CHECK_EQ(g[REG_RIP], 0);
    g[REG_RIP] = *(long *)g[REG_RSP];
    g[REG_RSP] += 8;
}

static void *calls(void *arg) {
    for (volatile int i = 0; i < 10; i++) {
        if (sigsetjmp(back, 1) == 0) {
            void (*volatile f)(void) = (void (*)(void))(uintptr_t)(i * 16);
            f();
            CHECK(!"reached");
        }
        __atomic_add_fetch(&total, 1, __ATOMIC_SEQ_CST);
    }
    return arg;
}

int main(void) {
    handle(SIGSEGV, leap, 0);
    pthread_t t[4];
    for (int i = 0; i < 4; i++) PT(pthread_create(&t[i], NULL, calls, NULL));
    for (int i = 0; i < 4; i++) PT(pthread_join(t[i], NULL));
    printf("%d calls of nothing\n", total);
    handle(SIGSEGV, ret, 0);
    nothing();
    puts("returned from nothing");
    return PASS;
}
