// Threads at ring 0 and ordinary processes take turns on the same CPUs, all of them making calls by a raw `syscall`
// instruction: every switch between them selects the entry point (MSR_LSTAR), and so do migration, kernel threads and
// exec.
//#Helper: caller
//#Libs: -pthread
//#Expect-stdout: 4 ordinary, 4 of ours
#include "common.h"

static const unsigned char code[] = {0x48, 0x89, 0xf8, 0x0f, 0x05, 0xc3};  // mov %rdi,%rax; syscall; ret
static long (*raw)(long);
static int stop;

static void *calls(void *arg) {
    int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN), n = 0;
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        CHECK_EQ(raw(SYS_gettid), gettid());
        CHECK_EQ(raw(SYS_getpid), getpid());
        if (++n % 50 == 0) pin(n / 50 % cpus);
        if (n % 7 == 0) raw(SYS_sched_yield);
    }
    return arg;
}

int main(void) {
    unsigned char *page = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memcpy(page, code, sizeof code);
    raw = (long (*)(long))(uintptr_t)page;
    const char *path = helper("caller");
    pthread_t t[4];
    pid_t pid[4];
    for (int i = 0; i < 4; i++) PT(pthread_create(&t[i], NULL, calls, NULL));
    for (int i = 0; i < 4; i++) {
        pid[i] = SYS(fork());
        if (pid[i] == 0) {
            raw(SYS_getpid);
            execl(path, "caller", "1500", NULL);
            _exit(99);
        }
    }
    for (int i = 0; i < 4; i++) expect_exit(pid[i], 0);
    stop = 1;
    for (int i = 0; i < 4; i++) PT(pthread_join(t[i], NULL));
    puts("4 ordinary, 4 of ours");
    return PASS;
}
