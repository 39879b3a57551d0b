// caller MS: makes system calls at ring 3 for this time, but at least 100 rounds, moves from CPU to CPU, and checks the
// results.
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int main(int argc, char **argv) {
    unsigned short cs;
    long end = now_ms() + (argc > 1 ? atol(argv[1]) : 1000), pid = getpid();
    int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    for (int n = 0; n < 100 || now_ms() < end; n++) {
        __asm__ volatile("mov %%cs, %0" : "=r"(cs));
        if ((cs & 3) != 3) return 1;
        if (syscall(SYS_getpid) != pid) return 2;
        if (syscall(SYS_read, -1, NULL, 0) != -1) return 3;
        if (n % 40 == 0) {
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET(n / 40 % cpus, &set);
            sched_setaffinity(0, sizeof set, &set);
        }
    }
    return 0;
}
