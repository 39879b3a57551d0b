// Blocked calls and signals. With SA_RESTART read, waitpid and futex go on; without it read and futex return EINTR;
// poll and nanosleep return EINTR in either case; after a stop and continue (no handler at all)
// nanosleep and poll resume through restart_syscall.
//#Libs: -pthread
//#Expect-stdout: restarted: read waitpid futex
//#Expect-stdout: interrupted: read futex poll nanosleep
//#Expect-stdout: resumed: nanosleep poll futex read
#include "common.h"
#include <linux/futex.h>
#include <poll.h>

static volatile int hits;
static pid_t parent;
static int word;
static int pipe_fd[2];

static void hit(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    hits++;
}

// Runs `act` in a child after the parent has had time to block. "Time to block" is read from /proc, not guessed.
static int blocked_in(pid_t pid, char want) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return 0;
    text[n] = 0;
    char *p = strrchr(text, ')');
    return p && p[2] == want;
}

// Returns false if it has ended instead.
static int wait_state(pid_t pid, char want) {
    for (int stable = 0; stable < 3;) {
        if (blocked_in(pid, 'Z')) return 0;
        stable = blocked_in(pid, want) ? stable + 1 : 0;
        usleep(2000);
    }
    return 1;
}

static pid_t poke(int sig, int times, int then_write) {
    pid_t pid = SYS(fork());
    if (pid) return pid;
    for (int i = 0; i < times; i++) {
        wait_state(parent, 'S');
        kill(parent, sig);
        // The next one only after this one was handled.
        usleep(10000);
    }
    wait_state(parent, 'S');
    if (then_write == 1) CHECK(write(pipe_fd[1], "x", 1) == 1);
    _exit(9);
}

static void *waker(void *arg) {
    while (hits < 3) usleep(2000);
    usleep(20000);
    __atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    return arg;
}

// Whether the child has ended as it has to.
static int ended(int status) {
    if (!WIFEXITED(status)) return 0;
    CHECK_EQ(WEXITSTATUS(status), 11);
    return 1;
}

// Returns false if it was too late: the child had ended, and has been waited for.
static int stop_and_continue(pid_t child) {
    for (int i = 0; i < 3; i++) {
        int status;
        if (wait_state(child, 'S')) CHECK(kill(child, SIGSTOP) == 0);
        CHECK(waitpid(child, &status, WUNTRACED) == child);
        if (ended(status)) return 0;
        CHECK(WIFSTOPPED(status) && kill(child, SIGCONT) == 0);
        CHECK(waitpid(child, &status, WCONTINUED) == child);
        if (ended(status)) return 0;
        CHECK(WIFCONTINUED(status));
    }
    return 1;
}

int main(void) {
    char c = 0;
    struct timespec ts, rem;
    parent = getpid();
    SYS(pipe(pipe_fd));

    handle(SIGUSR1, hit, SA_RESTART);
    pid_t pid = poke(SIGUSR1, 3, 1);
    CHECK_EQ(read(pipe_fd[0], &c, 1), 1);
    CHECK_EQ(c, 'x');
    CHECK_EQ(hits, 3);
    expect_exit(pid, 9);
    hits = 0;
    pid = poke(SIGUSR1, 3, 0);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(hits, 3);
    hits = 0;
    pthread_t t;
    PT(pthread_create(&t, NULL, waker, NULL));
    // Signals for the process go to this thread, the main one.
    pid = poke(SIGUSR1, 3, 0);
    while (!__atomic_load_n(&word, __ATOMIC_SEQ_CST)) {
        long r = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
        CHECK(r == 0 || errno == EAGAIN);
    }
    PT(pthread_join(t, NULL));
    expect_exit(pid, 9);
    puts("restarted: read waitpid futex");

    handle(SIGUSR1, hit, 0);
    pid = poke(SIGUSR1, 1, 0);
    CHECK(read(pipe_fd[0], &c, 1) == -1 && errno == EINTR);
    expect_exit(pid, 9);
    pid = poke(SIGUSR1, 1, 0);
    word = 0;
    CHECK(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) == -1 && errno == EINTR);
    expect_exit(pid, 9);
    handle(SIGUSR1, hit, SA_RESTART);
    pid = poke(SIGUSR1, 1, 0);
    struct pollfd pfd = {.fd = pipe_fd[0], .events = POLLIN};
    CHECK(poll(&pfd, 1, 20000) == -1 && errno == EINTR);
    expect_exit(pid, 9);
    pid = poke(SIGUSR1, 1, 0);
    ts = (struct timespec){20, 0};
    CHECK(nanosleep(&ts, &rem) == -1 && errno == EINTR);
    CHECK(rem.tv_sec >= 1 && rem.tv_sec < 20);
    expect_exit(pid, 9);
    puts("interrupted: read futex poll nanosleep");
    fflush(stdout);

    int ms = 700;
    for (int what = 0; what < 4; what++) {
        pid = SYS(fork());
        if (pid == 0) {
            int64_t start = now_ns(CLOCK_MONOTONIC);
            ts = (struct timespec){ms / 1000, ms % 1000 * 1000000};
            long r = what == 0   ? nanosleep(&ts, NULL)
                     : what == 1 ? poll(&pfd, 1, ms)
                     : what == 2 ? syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0)
                                 : read(pipe_fd[0], &c, 1);
            int err = errno;
            if (what < 3) CHECK(now_ns(CLOCK_MONOTONIC) - start >= (ms - 10) * 1000000l);
            if (what == 2) CHECK(r == -1 && err == ETIMEDOUT);
            else CHECK_EQ(r, what == 3);
            _exit(11);
        }
        if (!stop_and_continue(pid)) {
            // The machine was too slow for it: once more, with more time.
            ms *= 2, what--;
            continue;
        }
        if (what == 3) CHECK(write(pipe_fd[1], "y", 1) == 1);
        expect_exit(pid, 11);
    }
    puts("resumed: nanosleep poll futex read");
    return PASS;
}
