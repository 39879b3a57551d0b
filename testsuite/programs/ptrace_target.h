// The debugged side of ptrace.c and ptrace_watch.c: see tracer.h.
#ifndef UKL_TESTSUITE_PTRACE_TARGET_H
#define UKL_TESTSUITE_PTRACE_TARGET_H

#include "tracer.h"

__attribute__((aligned(8))) volatile int watched;
__attribute__((aligned(8))) char buffer[16] = "abcdefgh";

__attribute__((noinline, noclone)) void tick(long i) {
    __asm__ volatile("" : : "r"(i) : "memory");
    watched = watched + 1;
}

static int target(void) {
    long parent = getppid(), own;
    long a = syscall(SYS_getppid);
    // The third call is turned into getpid by the tracer.
    __asm__ volatile("mov $110, %%eax\n\tsyscall" : "=a"(own) : : "rcx", "r11", "memory", "cc");
    unsigned char *p = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memcpy(p, "\xb8\x6e\0\0\0\x0f\x05\xc3", 8);
    long changed = ((long (*)(void))(uintptr_t)p)();
    for (int i = 0; i < 20; i++) tick(i);
    for (int i = 0; i < 50; i++) getcwd((char *)p, 4096);
    CHECK(parent == a);
    if (changed == 4711) CHECK(own == getpid());
    return 17;
}

static int idle(void) {
    struct timespec ts = {0, 2000000};
    for (volatile long spin = 0; watched < 1000;) {
        for (int i = 0; i < 100000; i++) spin++;
        nanosleep(&ts, NULL);
    }
    return 18;
}

static int family(void) {
    for (int i = 0; i < 2; i++) {
        pid_t pid = i ? fork() : vfork();
        if (pid == 0) {
            execl("/proc/self/exe", "ptrace", "leave", NULL);
            _exit(98);
        }
        expect_exit(pid, 20);
    }
    return 19;
}

static int as_target(const char *what) {
    if (strcmp(what, "target") == 0) return target();
    if (strcmp(what, "idle") == 0) return idle();
    if (strcmp(what, "family") == 0) return family();
    return 20;
}

static struct places own_places(void) {
    return (struct places){(uintptr_t)&tick, (uintptr_t)&watched, (uintptr_t)buffer};
}

#endif
