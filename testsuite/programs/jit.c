// Code made at run time: functions in fresh memory, a raw `syscall` instruction in it (which no rewriter has seen),
// with six arguments, blocking, failing, from threads; and code that changes itself.
//#Libs: -pthread
//#Expect-stdout: computed 100
//#Expect-stdout: called the kernel 4000
//#Expect-stdout: slept
//#Expect-stdout: changed itself 100
//#Expect-stdout: no execute kept
#include "common.h"

static const unsigned char generic[] = {
    // long f(nr, a, b, c, d, e, f): shuffles the arguments as syscall(2) does.
    0x48, 0x89, 0xf8,              // mov %rdi,%rax
    0x48, 0x89, 0xf7,              // mov %rsi,%rdi
    0x48, 0x89, 0xd6,              // mov %rdx,%rsi
    0x48, 0x89, 0xca,              // mov %rcx,%rdx
    0x4d, 0x89, 0xc2,              // mov %r8,%r10
    0x4d, 0x89, 0xc8,              // mov %r9,%r8
    0x4c, 0x8b, 0x4c, 0x24, 0x08,  // mov 8(%rsp),%r9
    0x0f, 0x05,                    // syscall
    0xc3,
};
static long (*raw)(long, ...);
static int calls;

static void *caller(void *arg) {
    char path[64];
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ(raw(SYS_gettid), gettid());
        CHECK_EQ(raw(SYS_read, -1, path, 1), -EBADF);
        __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    }
    return arg;
}

static sigjmp_buf back;
static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    siglongjmp(back, 1);
}

int main(void) {
    unsigned char *page = SYS(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    int n = 0;
    for (int i = 0; i < 100; i++) {
        CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
        memcpy(page, "\xb8\0\0\0\0\xc3", 6);
        memcpy(page + 1, &i, 4);
        CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
        n += ((int (*)(void))(uintptr_t)page)() == i;
    }
    printf("computed %d\n", n);
    CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
    memcpy(page, generic, sizeof generic);
    CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
    raw = (long (*)(long, ...))(uintptr_t)page;
    pthread_t t[4];
    for (int i = 0; i < 4; i++) PT(pthread_create(&t[i], NULL, caller, NULL));
    for (int i = 0; i < 4; i++) PT(pthread_join(t[i], NULL));
    printf("called the kernel %d\n", calls);
    long m = raw(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(m > 0);
    *(volatile char *)m = 1;
    struct timespec ts = {0, 20000000};
    int64_t start = now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(raw(SYS_nanosleep, &ts, NULL), 0);
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 20000000);
    puts("slept");
    fflush(stdout);
    long pid = raw(SYS_fork);
    if (pid == 0) raw(SYS_exit_group, 4);
    expect_exit((pid_t)pid, 4);

    unsigned char *self = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    // incl 1(%rip)-style: the code adds one to its own immediate, then loads it.
    static const unsigned char own[] = {0xff, 0x05, 0x01, 0, 0, 0, 0xb8, 0, 0, 0, 0, 0xc3};
    memcpy(self, own, sizeof own);
    for (n = 1; n <= 100; n++) CHECK_EQ(((int (*)(void))(uintptr_t)self)(), n);
    printf("changed itself %d\n", n - 1);

    handle(SIGSEGV, leap, 0);
    CHECK(mprotect(self, 4096, PROT_READ | PROT_WRITE) == 0);
    if (sigsetjmp(back, 1) == 0) {
        ((int (*)(void))(uintptr_t)self)();
        CHECK(!"reached");
    }
    puts("no execute kept");
    return PASS;
}
