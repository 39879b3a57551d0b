// A CPU goes offline and online again: afterwards it has what ring-0 threads need (IST stacks, MSR_LSTAR).
//#Skip-host: takes a CPU away
//#Calm: takes a CPU away
//#Alone: changes the machine
//#Cpus: 2
//#Libs: -pthread
//#Expect-stdout: gone and back 3
#include "common.h"

static int put(const char *text) {
    int fd = open("/sys/devices/system/cpu/cpu1/online", O_WRONLY);
    if (fd < 0) return -1;
    ssize_t n = write(fd, text, 1);
    close(fd);
    return n == 1 ? 0 : -1;
}

static sigjmp_buf back;
static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    siglongjmp(back, 1);
}

static void *on_one(void *arg) {
    unsigned char *jit = SYS(mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memcpy(jit, "\xb8\x27\0\0\0\x0f\x05\xc3", 8);
    pin(1);
    CHECK_EQ(sched_getcpu(), 1);
    for (volatile int i = 0; i < 50; i++) {
        CHECK_EQ(((long (*)(void))(uintptr_t)jit)(), getpid());
        if (sigsetjmp(back, 1) == 0) {
            *(volatile int *)8 = 1;
            CHECK(!"reached");
        }
        if (sigsetjmp(back, 1) == 0) {
            __asm__ volatile("ud2");
            CHECK(!"reached");
        }
        for (volatile long s = 0; s < 100000; s++) continue;
    }
    return arg;
}

int main(void) {
    handle(SIGSEGV, leap, 0);
    handle(SIGILL, leap, 0);
    int n = 0;
    for (; n < 3; n++) {
        pthread_t t;
        CHECK(put("0") == 0);
        CHECK(sysconf(_SC_NPROCESSORS_ONLN) == 1);
        CHECK(put("1") == 0);
        CHECK(sysconf(_SC_NPROCESSORS_ONLN) == 2);
        PT(pthread_create(&t, NULL, on_one, NULL));
        PT(pthread_join(t, NULL));
    }
    printf("gone and back %d\n", n);
    return PASS;
}
