// seccomp filters: errno, trap, kill and allow, for sites the rewriter turned, for raw `syscall` instructions in JIT
// code, and over fork; strict mode.
//#Expect-stdout: errno
//#Expect-stdout: trap
//#Expect-stdout: killed
//#Expect-stdout: strict
//#Expect-stdout: raw instruction too
#include "common.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

static void filter(unsigned nr, unsigned action) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof code / sizeof *code, code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
}

static volatile int trapped;
static void on_sys(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)ctx;
    CHECK_EQ(si->si_syscall, SYS_getppid);
    CHECK_EQ(si->si_arch, AUDIT_ARCH_X86_64);
    CHECK((uintptr_t)si->si_call_addr < 0x7ffffffff000);
    trapped++;
}

static long raw_getppid(void) {
    static const unsigned char code[] = {0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0xc3};
    unsigned char *p = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memcpy(p, code, sizeof code);
    return ((long (*)(void))(uintptr_t)p)();
}

static pid_t child(int what) {
    fflush(stdout);
    pid_t pid = SYS(fork());
    if (pid) return pid;
    switch (what) {
    case 0:
        filter(SYS_getppid, SECCOMP_RET_ERRNO | 99);
        CHECK(syscall(SYS_getppid) == -1 && errno == 99);
        CHECK(getpid() > 0);
        pid = SYS(fork());
        if (pid == 0) _exit(syscall(SYS_getppid) == -1 && errno == 99 ? 12 : 1);
        expect_exit(pid, 12);
        _exit(11);
    case 1:
        handle(SIGSYS, on_sys, 0);
        filter(SYS_getppid, SECCOMP_RET_TRAP);
        for (int i = 0; i < 10; i++) getppid();
        raw_getppid();
        _exit(trapped == 11 ? 11 : 1);
    case 2:
        filter(SYS_getppid, SECCOMP_RET_KILL_PROCESS);
        getppid();
        _exit(1);
    case 3:
        CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
        CHECK(write(1, "", 0) == 0);
        getppid();
        syscall(SYS_exit, 1);
        break;
    case 4:
        filter(SYS_getppid, SECCOMP_RET_ERRNO | 98);
        _exit(raw_getppid() == -98 ? 11 : 1);
    }
    _exit(2);
}

int main(void) {
    expect_exit(child(0), 11);
    puts("errno");
    expect_exit(child(1), 11);
    puts("trap");
    expect_signal(child(2), SIGSYS);
    puts("killed");
    expect_signal(child(3), SIGKILL);
    puts("strict");
    expect_exit(child(4), 11);
    puts("raw instruction too");
    return PASS;
}
