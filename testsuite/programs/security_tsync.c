// When SECCOMP_FILTER_FLAG_TSYNC has returned, the filter holds for all threads: no call that another thread begins
// after that goes unfiltered, even if the thread runs on another processor and has made calls without a look at its
// work all the time.
//#Libs: -pthread
//#Cpus: 2
//#Expect-stdout: 100 times filtered
#include "common.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

static volatile int ready, go;
static long first, second;

static void *caller(void *arg) {
    for (int i = 0; i < 20; i++) getppid();
    ready = 1;
    while (!go) __asm__ volatile("pause");
    first = getppid();
    second = getppid();
    return arg;
}

static void filter_all_threads(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 99),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0);
}

int main(void) {
    int rounds = in_storm() ? 3 : 100;
    for (int i = 0; i < rounds; i++) {
        fflush(stdout);
        pid_t pid = SYS(fork());
        if (pid == 0) {
            pthread_t thread;
            PT(pthread_create(&thread, NULL, caller, NULL));
            while (!ready) sched_yield();
            filter_all_threads();
            go = 1;
            PT(pthread_join(thread, NULL));
            CHECK(first < 0);  // libc does not look for an error there
            CHECK(second < 0);
            _exit(7);
        }
        expect_exit(pid, 7);
    }
    printf("%d times filtered\n", in_storm() ? 100 : rounds);
    return PASS;
}
