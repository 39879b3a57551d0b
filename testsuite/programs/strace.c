// strace as an ordinary process shows the program's calls with their arguments, over fork and threads, whatever form
// their sites have.
//#Skip-host: the wrapper is a guest's
//#Libs: -pthread
//#Run-args: --host-tools --wrap "strace -f -e trace=getppid,write,openat,getuid,nanosleep,clock_nanosleep,exit_group -o /proc/self/fd/1"
//#Timeout: 120
//#Stdout-contains: openat(AT_FDCWD, "/nonexistent/file", O_RDONLY) = -1 ENOENT (No such file or directory)
//#Stdout-contains: getppid()
//#Stdout-contains: getuid()
//#Stdout-contains: write(3, "from the program\n", 17) = 17
//#Stdout-contains: exit_group(7)
//#Stdout-contains: exited with 7
//#Stdout-contains: SIGCHLD
//#Stdout-contains: clock_nanosleep(CLOCK_REALTIME, 0, {tv_sec=0, tv_nsec=1000000}
// No closing bracket: the other thread's end may be reported within the call.
//#Stdout-contains: exit_group(42
//#Stdout-contains: exited with 42
#include "common.h"

static void *thread(void *arg) {
    struct timespec ts = {0, 1000000};
    nanosleep(&ts, NULL);
    return arg;
}

int main(void) {
    CHECK(open("/nonexistent/file", O_RDONLY) == -1);
    getppid();
    long r;
    __asm__ volatile("mov $102, %%eax\n\tsyscall" : "=a"(r) : : "rcx", "r11", "memory", "cc");
    CHECK_EQ(r, 0);
    CHECK_EQ(open("/dev/null", O_WRONLY), 3);
    CHECK(write(3, "from the program\n", 17) == 17);
    pid_t pid = SYS(fork());
    if (pid == 0) _exit(7);
    expect_exit(pid, 7);
    pthread_t t;
    PT(pthread_create(&t, NULL, thread, NULL));
    PT(pthread_join(t, NULL));
    return PASS;
}
