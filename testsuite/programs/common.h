// Shared by every program of the battery.
//
// A program checks itself with CHECK(), prints what its //#Expect-stdout lines promise, and leaves through 42:
// a program that falls off its end or dies early by accident cannot pass.
#ifndef UKL_TESTSUITE_COMMON_H
#define UKL_TESTSUITE_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PASS 42

// The message is formatted on the stack and written by one write(): CHECK has to work in signal handlers, in forked
// children of threaded programs and with stdio's locks held.
static inline void check_failed(const char *file, int line, const char *what, long a, long b) {
    int err = errno;
    char text[512];
    int n = snprintf(text, sizeof text, "%s:%d: failed: %s (%ld, %ld; errno %d %s)\n", file, line, what, a, b, err,
                     strerrordesc_np(err) ? strerrordesc_np(err) : "");
    if (write(2, text, n) != n) _exit(2);
    _exit(1);
}

#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond, 0, 0))
#define CHECK_EQ(a, b)                                                                     \
    do {                                                                                   \
        long check_a = (long)(a), check_b = (long)(b);                                     \
        if (check_a != check_b)                                                            \
            check_failed(__FILE__, __LINE__, #a " == " #b, check_a, check_b);              \
    } while (0)
// The value of a call that must not fail with -1.
#define SYS(call)                                                                          \
    ({                                                                                     \
        __typeof__(call) sys_r = (call);                                                   \
        if (sys_r == (__typeof__(call))-1) check_failed(__FILE__, __LINE__, #call, -1, 0); \
        sys_r;                                                                             \
    })
// pthread functions return their error.
#define PT(call)                                                                           \
    do {                                                                                   \
        int pt_r = (call);                                                                 \
        if (pt_r) errno = pt_r, check_failed(__FILE__, __LINE__, #call, pt_r, 0);          \
    } while (0)

// The privilege level, read from the processor itself.
static inline int ring(void) {
    unsigned short cs;
    __asm__ volatile("mov %%cs, %0" : "=r"(cs));
    return cs & 3;
}

// The harness says where it means to run us; running elsewhere is a failure, or ring 0 would be proved by hope.
__attribute__((constructor, unused)) static void check_ring(void) {
    const char *want = getenv("UKL_EXPECT_RING");
    if (want && ring() != atoi(want)) {
        static const char text[] = "common.h: at the wrong ring\n";
        if (write(2, text, sizeof text - 1) < 0) _exit(2);
        _exit(3);
    }
}

static inline int64_t now_ns(clockid_t clock) {
    struct timespec ts;
    clock_gettime(clock, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static inline void sleep_ms(int ms) {
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000l};
    while (nanosleep(&ts, &ts) == -1 && errno == EINTR) {
    }
}

static inline void handle(int sig, void (*fn)(int, siginfo_t *, void *), int flags) {
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_flags = SA_SIGINFO | flags;
    sa.sa_sigaction = fn;
    sigemptyset(&sa.sa_mask);
    CHECK(sigaction(sig, &sa, NULL) == 0);
}

// Waits for a child that has to exit. Returns its exit status.
static inline int exit_status(pid_t pid) {
    int status = 0;
    pid_t got;
    do got = waitpid(pid, &status, 0);
    while (got == -1 && errno == EINTR);
    CHECK_EQ(got, pid);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

// Waits for a child that has to exit with `code`.
static inline void expect_exit(pid_t pid, int code) {
    CHECK_EQ(exit_status(pid), code);
}

static inline void expect_signal(pid_t pid, int sig) {
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), sig);
}

// Becomes the user and group `nobody`, without supplementary groups.
static inline void nobody(void) {
    CHECK(setgroups(0, NULL) == 0);
    CHECK(setresgid(65534, 65534, 65534) == 0);
    CHECK(setresuid(65534, 65534, 65534) == 0);
}

// Whether the stress test runs this, with everything short.
static inline int in_storm(void) {
    return getenv("UKL_STORM") != NULL;
}

// Whether this runs in a guest, whose kernel and processor have what the program is about. On the build host a program
// may do without.
static inline int in_guest(void) {
    return getenv("UKL_EXPECT_POLICY") != NULL;
}

// Blocks a signal in the calling thread, or lets it in again. Linux delivers a signal for the whole process to the main
// thread if that does not block it: a test of other threads has its main thread block it.
static inline void mask(int how, int sig) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, sig);
    PT(pthread_sigmask(how, &set, NULL));
}

// Pins the calling thread.
static inline void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    CHECK(sched_setaffinity(0, sizeof set, &set) == 0);
}

// Pins the calling thread to the CPU that it is on, and with it the children that it starts from now on. A tracer and its
// target on two CPUs make many steps slow: at each one, the kernel may sleep for a tick until the target has left its CPU.
static inline cpu_set_t stay_here(void) {
    cpu_set_t before;
    CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
    pin(sched_getcpu());
    return before;
}

// Where the harness put the ordinary (always ring-3) helper programs.
static inline const char *helper(const char *name) {
    static char path[256];
    const char *dir = getenv("UKL_HELPERS");
    CHECK(dir != NULL);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

// A fresh name in /tmp.
static inline const char *tmp_path(const char *name) {
    static char path[4][128];
    static int turn;
    char *p = path[turn++ & 3];
    snprintf(p, sizeof path[0], "/tmp/%s.%d", name, (int)getpid());
    return p;
}

#endif
