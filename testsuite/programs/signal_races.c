// A signal ends a blocked call, and interrupts come while that call is on its way back. Whatever they hit, the call
// says EINTR, or goes on if the handler asks for that; no number of the kernel's own gets out.
//#Libs: -pthread
//#Expect-stdout: interrupted
//#Expect-stdout: restarted
#include "common.h"
#include <poll.h>

enum { CALLS = 3000 };

static pthread_t blocked;
static volatile int stop, turn, pending;
static int ends[2];

static void hit(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    pending = 0;
}

// Signals the one that blocks again and again, and has its processor interrupted all the time.
static void *storm(void *arg) {
    while (!stop) {
        if (!pending) {
            pending = 1;
            pthread_kill(blocked, SIGUSR1);
        }
        for (int i = 0; i < 4; i++) SYS(syscall(SYS_membarrier, 8 /* PRIVATE_EXPEDITED */, 0, 0));
    }
    return arg;
}

static long call(int which, char *byte) {
    struct pollfd polled = {.fd = ends[0], .events = POLLIN};
    struct timespec second = {20, 0};
    unsigned word = 0;
    switch (which) {
    case 0: return poll(&polled, 1, 20000);
    case 1: return nanosleep(&second, NULL);
    case 2: return syscall(SYS_futex, &word, 0 /* FUTEX_WAIT */, 0, &second, NULL, 0);
    default: return read(ends[0], byte, 1);
    }
}

int main(void) {
    char byte = 0;
    pthread_t thread;
    SYS(pipe(ends));
    SYS(syscall(SYS_membarrier, 16 /* REGISTER_PRIVATE_EXPEDITED */, 0, 0));
    blocked = pthread_self();
    handle(SIGUSR1, hit, 0);
    PT(pthread_create(&thread, NULL, storm, NULL));
    for (int i = 0; i < CALLS; i++) {
        long result = call(i & 3, &byte);
        CHECK_EQ(result, -1);
        CHECK_EQ(errno, EINTR);
    }
    puts("interrupted");
    fflush(stdout);

    // The reader goes on until its byte comes, which a child writes after a while, over and over.
    handle(SIGUSR1, hit, SA_RESTART);
    pid_t child = SYS(fork());
    if (child == 0) {
        for (int i = 0; i < 200; i++) {
            sleep_ms(2);
            byte = (char)i;
            if (write(ends[1], &byte, 1) != 1) _exit(1);
        }
        _exit(3);
    }
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(read(ends[0], &byte, 1), 1);
        CHECK_EQ(byte, (char)i);
    }
    stop = 1;
    PT(pthread_join(thread, NULL));
    expect_exit(child, 3);
    puts("restarted");
    return PASS;
}
