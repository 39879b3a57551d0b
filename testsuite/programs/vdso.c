// The vDSO: present, mapped, right; clock_gettime never runs backwards over CPUs and agrees with the system call.
//#Libs: -pthread
//#Expect-stdout: mapped
//#Expect-stdout: clocks agree
//#Expect-stdout: monotonic over cpus
#include "common.h"
#include <elf.h>
#include <sys/auxv.h>

static int64_t latest;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *look(void *arg) {
    int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    for (int i = 0; i < 2000; i++) {
        if (i % 100 == 0) pin((i / 100 + (int)(intptr_t)arg) % cpus);
        pthread_mutex_lock(&lock);
        int64_t now = now_ns(CLOCK_MONOTONIC);
        CHECK(now >= latest);
        latest = now;
        pthread_mutex_unlock(&lock);
    }
    return arg;
}

int main(void) {
    uintptr_t base = getauxval(AT_SYSINFO_EHDR);
    CHECK(base != 0);
    CHECK(memcmp((void *)base, ELFMAG, SELFMAG) == 0);
    CHECK_EQ(((Elf64_Ehdr *)base)->e_type, ET_DYN);
    CHECK(getauxval(AT_PAGESZ) == 4096);
    puts("mapped");
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_COARSE,
                                       CLOCK_MONOTONIC_COARSE};
    for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        struct timespec direct;
        int64_t before = now_ns(clocks[i]);
        CHECK(syscall(SYS_clock_gettime, clocks[i], &direct) == 0);
        int64_t middle = direct.tv_sec * 1000000000ll + direct.tv_nsec, after = now_ns(clocks[i]);
        CHECK(before <= middle && middle <= after);
    }
    struct timeval tv;
    CHECK(gettimeofday(&tv, NULL) == 0 && llabs(tv.tv_sec - time(NULL)) <= 1);
    unsigned cpu, node;
    pin(0);
    CHECK(getcpu(&cpu, &node) == 0 && cpu == 0);
    puts("clocks agree");
    pthread_t t[4];
    for (int i = 0; i < 4; i++) PT(pthread_create(&t[i], NULL, look, (void *)(intptr_t)i));
    for (int i = 0; i < 4; i++) PT(pthread_join(t[i], NULL));
    puts("monotonic over cpus");
    return PASS;
}
