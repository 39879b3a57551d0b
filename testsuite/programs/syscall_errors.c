// Calls that do not exist say ENOSYS, whatever form the site has; wrong arguments give the kernel's own errors; the
// upper half of the number's register is ignored or refused as Linux does.
//#Expect-stdout: ENOSYS
//#Expect-stdout: errors
#include "common.h"

static long raw(long nr, long a, long b) {
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory");
    return r;
}

int main(void) {
    static const long none[] = {9999, 512 + 4000, -2, 0x7fffffff, 1000, 400, 0x40000000 + 9999};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) CHECK_EQ(raw(none[i], 0, 0), -ENOSYS);
    CHECK(syscall(9999) == -1 && errno == ENOSYS);
    long r;
    __asm__ volatile("mov $9999, %%eax\n\tsyscall" : "=a"(r) : : "rcx", "r11", "memory", "cc");
    CHECK_EQ(r, -ENOSYS);
    puts("ENOSYS");
    CHECK_EQ(raw(SYS_close, -1, 0), -EBADF);
    CHECK_EQ(raw(SYS_kill, 1 << 30, 0), -ESRCH);
    CHECK_EQ(raw(SYS_open, (long)"/nonexistent", 0), -ENOENT);
    CHECK_EQ(raw(SYS_chdir, (long)"/dev/null", 0), -ENOTDIR);
    CHECK_EQ(raw(SYS_getpid, 0, 0), getpid());
    CHECK_EQ(raw(SYS_getpid | 0x5500000000, 0, 0), getpid());
    puts("errors");
    return PASS;
}
