// Pages of the program's text disappear while a call is in the kernel, including the page to which it returns: dropped
// by madvise, from the calling thread or another one. The call returns to newly read pages.
//#Libs: -pthread
//#Expect-stdout: dropped by another thread
//#Expect-stdout: dropped by itself
//#Expect-stdout: unmapped: killed
#include "common.h"

extern char __executable_start[], etext[];
static int ends[2];
static volatile int waiting;

static char *text(size_t *size) {
    char *from = (char *)((uintptr_t)__executable_start & ~4095ul);
    *size = ((uintptr_t)etext - (uintptr_t)from + 4095) & ~4095ul;
    return from;
}

// By an instruction of its own: what is dropped must not be needed to drop it.
static long raw(long nr, void *a, size_t b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

static void *reader(void *arg) {
    char byte;
    for (int i = 0; i < 50; i++) {
        waiting++;
        CHECK_EQ(read(ends[0], &byte, 1), 1);
        CHECK_EQ(byte, i);
    }
    return arg;
}

static void wait_for(int turn) {
    while (waiting < turn) sched_yield();
    sleep_ms(5);
}

int main(void) {
    size_t size;
    char *from = text(&size);
    pthread_t thread;
    SYS(pipe(ends));
    PT(pthread_create(&thread, NULL, reader, NULL));
    for (int i = 0; i < 50; i++) {
        char byte = (char)i;
        wait_for(i + 1);
        CHECK(madvise(from, size, MADV_DONTNEED) == 0);
        CHECK(write(ends[1], &byte, 1) == 1);
    }
    PT(pthread_join(thread, NULL));
    puts("dropped by another thread");
    for (int i = 0; i < 50; i++) CHECK(madvise(from, size, MADV_DONTNEED) == 0);
    puts("dropped by itself");
    fflush(stdout);

    // Nothing is left to return to.
    pid_t pid = SYS(fork());
    if (pid == 0) {
        waiting = 0;
        PT(pthread_create(&thread, NULL, reader, NULL));
        wait_for(1);
        raw(SYS_munmap, from, size, 0);
        _exit(1);
    }
    expect_signal(pid, SIGSEGV);
    puts("unmapped: killed");
    return PASS;
}
