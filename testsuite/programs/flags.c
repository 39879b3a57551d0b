// Odd flags at the moment of a call: direction, alignment check, nested task and the arithmetic ones. The kernel must
// run with its own and give the program's back.
//#Expect-stdout: direction kept
//#Expect-stdout: nested task harmless
//#Expect-stdout: alignment check kept
//#Expect-stdout: arithmetic kept
#include "common.h"

enum { DF = 0x400, AC = 0x40000, NT = 0x4000, CF = 1, ZF = 0x40, SF = 0x80, OF = 0x800, PF = 4 };

static char buffer[64 * 1024], copy[64 * 1024];

// A call through a site the rewriter can turn in place, with `set` or-ed into the flags. Returns the flags after it.
static long call_with(long nr, long a, long b, long c, unsigned long set, long *result) {
    unsigned long after;
    register long r_nr __asm__("rax") = nr;
    __asm__ volatile(
        "lea -128(%%rsp), %%rsp\n\t"
        "pushfq\n\tor %[set], (%%rsp)\n\tpopfq\n\t"
        "syscall\n\t"
        "pushfq\n\tpop %[after]\n\t"
        "pushfq\n\tandq $~0x44400, (%%rsp)\n\tpopfq\n\t"
        "lea 128(%%rsp), %%rsp\n\t"
        : "+a"(r_nr), [after] "=&r"(after)
        : "D"(a), "S"(b), "d"(c), [set] "r"(set)
        : "rcx", "r11", "memory", "cc");
    *result = r_nr;
    return (long)after;
}

// The same for a fixed number, whose site is `mov $nr; syscall`.
static long read_with(long a, long b, long c, unsigned long set, long *result) {
    unsigned long after;
    long r;
    __asm__ volatile(
        "lea -128(%%rsp), %%rsp\n\t"
        "pushfq\n\tor %[set], (%%rsp)\n\tpopfq\n\t"
        "mov $0, %%eax\n\tsyscall\n\t"
        "pushfq\n\tpop %[after]\n\t"
        "pushfq\n\tandq $~0x44400, (%%rsp)\n\tpopfq\n\t"
        "lea 128(%%rsp), %%rsp\n\t"
        : "=a"(r), [after] "=&r"(after)
        : "D"(a), "S"(b), "d"(c), [set] "r"(set)
        : "rcx", "r11", "memory", "cc");
    *result = r;
    return (long)after;
}

int main(void) {
    int fd[2];
    long r;
    SYS(pipe(fd));
    for (size_t i = 0; i < sizeof buffer; i++) buffer[i] = (char)(i * 7);
    for (int i = 0; i < 20; i++) {
        CHECK(call_with(SYS_write, fd[1], (long)buffer, 40000, DF, &r) & DF);
        CHECK_EQ(r, 40000);
        memset(copy, 0, sizeof copy);
        CHECK(read_with(fd[0], (long)copy, 40000, DF, &r) & DF);
        CHECK_EQ(r, 40000);
        CHECK(memcmp(buffer, copy, 40000) == 0);
    }
    puts("direction kept");
    for (int i = 0; i < 200; i++) {
        call_with(SYS_getpid, 0, 0, 0, NT, &r);
        CHECK_EQ(r, getpid());
        read_with(-1, 0, 0, NT, &r);
        CHECK_EQ(r, -EBADF);
        // A call that sleeps returns by another way than one that does not.
        struct timespec ts = {0, 1000};
        call_with(SYS_nanosleep, (long)&ts, 0, 0, NT, &r);
        CHECK_EQ(r, 0);
    }
    puts("nested task harmless");
    CHECK(call_with(SYS_getpid, 0, 0, 0, AC, &r) & AC);
    CHECK(read_with(-1, 0, 0, AC, &r) & AC);
    CHECK_EQ(r, -EBADF);
    puts("alignment check kept");
    unsigned long mask = CF | ZF | SF | OF | PF;
    for (unsigned long f = 0; f < 0x1000; f++) {
        if (f & ~mask) continue;
        // Whoever cannot prove the arithmetic flags dead behind a site has to keep them.
        unsigned long after;
        long nr = SYS_getpid;
        __asm__ volatile(
            "lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x8c5, (%%rsp)\n\tor %[set], (%%rsp)\n\tpopfq\n\t"
            "syscall\n\tpushfq\n\tpop %[after]\n\tlea 128(%%rsp), %%rsp"
            : "+a"(nr), [after] "=&r"(after)
            : [set] "r"(f)
            : "rcx", "r11", "memory", "cc");
        CHECK_EQ(after & mask, f);
        __asm__ volatile(
            "lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x8c5, (%%rsp)\n\tor %[set], (%%rsp)\n\tpopfq\n\t"
            "mov $39, %%eax\n\tsyscall\n\tpushfq\n\tpop %[after]\n\tlea 128(%%rsp), %%rsp"
            : "=&a"(nr), [after] "=&r"(after)
            : [set] "r"(f)
            : "rcx", "r11", "memory", "cc");
        CHECK_EQ(after & mask, f);
    }
    puts("arithmetic kept");
    return PASS;
}
