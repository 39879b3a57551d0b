// Misbehaves in every way in which a program at ring 0 can by accident, in phases of argv[1] seconds: loops on all
// CPUs, crashes repeatedly, uses up all memory, forks and creates threads without end. It prints the name of each phase
// when the phase begins, so that a test outside can tell during which one the machine did not answer.
#include "../programs/common.h"

static int cpus;
static int64_t until;

static int going(void) { return now_ns(CLOCK_MONOTONIC) < until; }

static void *spin(void *arg) {
    volatile unsigned long n = 0;
    // Makes no system call.
    for (;;) n++;
    return arg;
}

static void *call(void *arg) {
    for (;;) getppid();
    return arg;
}

// Two looping children for each CPU, which are killed when the phase ends.
static void loop_with(void *(*body)(void *)) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
        pthread_t t;
        for (int i = 0; i < cpus * 2; i++) PT(pthread_create(&t, NULL, body, NULL));
        for (;;) pause();
    }
    while (going()) sleep_ms(50);
    kill(pid, SIGKILL);
    expect_signal(pid, SIGKILL);
}

static __attribute__((noinline)) long dig(volatile long n) {
    volatile char frame[2000];
    frame[0] = (char)n;
    return dig(n + 1) + frame[0];
}

static void crash(int way) {
    volatile int one = 1, zero = 0;
    switch (way % 9) {
    case 0: *(volatile int *)8 = 1; break;
    case 1: ((void (*)(void))0)(); break;
    case 2: ((void (*)(void))0xffffe90000001000)(); break;
    case 3: ((void (*)(void))0x0000900000000000)(); break;
    case 4: __builtin_trap(); break;
    case 5: one = one / zero; break;
    case 6: dig(0); break;
    case 7: __asm__ volatile("mov $0x900000000000, %%rsp\n\tpush %%rax" : : : "memory"); break;
    case 8: *(volatile int *)0xffffe90000001000 = 1; break;
    }
}

static void crashes(void) {
    for (int i = 0; going(); i++) {
        pid_t pid = SYS(fork());
        if (pid == 0) {
            crash(i);
            _exit(1);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    }
}

static void hunger(void) {
    while (going()) {
        pid_t pid = SYS(fork());
        if (pid == 0) {
            int fd = SYS(open("/proc/self/oom_score_adj", O_WRONLY));
            CHECK(write(fd, "1000", 4) == 4);
            for (;;) {
                char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (p != MAP_FAILED) memset(p, 1, 1 << 20);
            }
        }
        expect_signal(pid, SIGKILL);
    }
}

static void forks(void) {
    while (going()) {
        pid_t pid[30];
        int n = 0;
        for (; n < 30; n++) {
            pid[n] = fork();
            if (pid[n] < 0) break;
            if (pid[n] == 0) {
                pthread_t t;
                for (int i = 0; i < 5; i++) pthread_create(&t, NULL, call, NULL);
                sleep_ms(100);
                _exit(0);
            }
        }
        for (int i = 0; i < n; i++) expect_exit(pid[i], 0);
    }
}

int main(int argc, char **argv) {
    int64_t each = (argc > 1 ? atoi(argv[1]) : 5) * 1000000000ll;
    cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    static const char *names[] = {"spinning", "calling", "crashing", "eating", "forking"};
    for (int phase = 0; phase < 5; phase++) {
        puts(names[phase]);
        fflush(stdout);
        until = now_ns(CLOCK_MONOTONIC) + each;
        switch (phase) {
        case 0: loop_with(spin); break;
        case 1: loop_with(call); break;
        case 2: crashes(); break;
        case 3: hunger(); break;
        case 4: forks(); break;
        }
    }
    puts("done");
    return PASS;
}
