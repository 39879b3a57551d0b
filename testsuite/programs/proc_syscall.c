// /proc/PID/syscall, stack and wchan of threads that block and run all the time, on other processors. Whatever is read,
// a call that is shown as blocked is one that the process makes.
//#Cpus: 2
//#Timeout: 120
//#Expect-stdout: read while they ran
#include "common.h"
#include <poll.h>

static void put(int fd, char byte) {
    if (write(fd, &byte, 1) != 1) _exit(1);
}

static void take(int fd) {
    char byte;
    if (read(fd, &byte, 1) != 1) _exit(1);
}

int main(void) {
    int there[2], back[2];
    SYS(pipe(there));
    SYS(pipe(back));
    pid_t pids[2];
    pids[0] = SYS(fork());
    if (pids[0] == 0) {
        for (;;) {
            struct pollfd ready = {there[0], POLLIN, 0};
            poll(&ready, 1, -1);
            take(there[0]);
            nanosleep(&(struct timespec){0, 1}, NULL);
            put(back[1], 'b');
        }
    }
    pids[1] = SYS(fork());
    if (pids[1] == 0) {
        for (;;) {
            put(there[1], 't');
            take(back[0]);
        }
    }
    static const char *const files[] = {"syscall", "stack", "wchan"};
    static const int calls[] = {SYS_read, SYS_write, SYS_poll, SYS_nanosleep, SYS_clock_nanosleep, SYS_restart_syscall, -1};
    int rounds = in_storm() ? 200 : 6000, blocked = 0;
    for (int i = 0; i < rounds; i++) {
        for (int file = 0; file < 3; file++) {
            char path[64], text[4096];
            snprintf(path, sizeof path, "/proc/%d/%s", pids[i & 1], files[file]);
            int fd = SYS(open(path, O_RDONLY));
            ssize_t n = read(fd, text, sizeof text - 1);
            close(fd);
            if (file > 0 || n <= 0) continue;
            text[n] = 0;
            if (strncmp(text, "running", 7) == 0) continue;
            int number = atoi(text), known = 0;
            for (size_t k = 0; k < sizeof calls / sizeof *calls; k++) known |= number == calls[k];
            if (!known) fputs(text, stderr);
            CHECK(known);
            blocked++;
        }
    }
    CHECK(blocked > 0);
    for (int i = 0; i < 2; i++) {
        kill(pids[i], SIGKILL);
        expect_signal(pids[i], SIGKILL);
    }
    puts("read while they ran");
    return PASS;
}
