// A small debugger and the program it debugs. ptrace.c traces a copy of itself with it, and the ordinary helper
// `tracer` does the same to ptrace.c: a ring-0 tracee is debugged from ring 0 and from ring 3.
#ifndef UKL_TESTSUITE_TRACER_H
#define UKL_TESTSUITE_TRACER_H

#include "common.h"
#include <elf.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

struct places {
    uintptr_t tick, watched, buffer;
};

static struct user_regs_struct regs_of(pid_t pid) {
    struct user_regs_struct r;
    CHECK(ptrace(PTRACE_GETREGS, pid, NULL, &r) == 0);
    // Whatever ring it runs at, a debugger is shown an ordinary program.
    CHECK_EQ(r.cs, 0x33);
    CHECK_EQ(r.ss, 0x2b);
    CHECK(r.rip < 0x7ffffffff000 && r.rsp < 0x7ffffffff000);
    return r;
}

static int stop_of(pid_t pid) {
    int status;
    pid_t got;
    do got = waitpid(pid, &status, __WALL);
    while (got == -1 && errno == EINTR);
    CHECK_EQ(got, pid);
    CHECK(WIFSTOPPED(status));
    return status >> 8;
}

static long peek(pid_t pid, uintptr_t at) {
    errno = 0;
    long r = ptrace(PTRACE_PEEKDATA, pid, (void *)at, NULL);
    CHECK_EQ(errno, 0);
    return r;
}

static void poke(pid_t pid, uintptr_t at, long word) {
    CHECK(ptrace(PTRACE_POKEDATA, pid, (void *)at, (void *)word) == 0);
}

// Runs to `tick` by a breakpoint, puts the instruction back.
static void run_to(pid_t pid, uintptr_t at) {
    long saved = peek(pid, at);
    poke(pid, at, (saved & ~0xffl) | 0xcc);
    CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
    CHECK_EQ(stop_of(pid), SIGTRAP);
    struct user_regs_struct r = regs_of(pid);
    CHECK_EQ(r.rip, at + 1);
    r.rip = at;
    CHECK(ptrace(PTRACE_SETREGS, pid, NULL, &r) == 0);
    poke(pid, at, saved);
}

static pid_t start_target(const char *path, int options) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
        CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        // The target is at the ring of the program, which need not be ours.
        const char *ring_var = getenv("UKL_TARGET_RING");
        if (ring_var) setenv("UKL_EXPECT_RING", ring_var, 1);
        execl(path, "ptrace", "target", NULL);
        _exit(99);
    }
    CHECK_EQ(stop_of(pid), SIGTRAP);
    CHECK(ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(intptr_t)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | options)) == 0);
    return pid;
}

static void trace_calls(const char *path) {
    // getppid is made by libc's stub, by syscall(2), by the program's own site and by a raw instruction in fresh memory:
    // four times, each entered and left. The third one is turned into something else, the fourth one's result changed.
    pid_t pid = start_target(path, 0);
    int calls = 0, stop;
    for (;;) {
        CHECK(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0);
        stop = stop_of(pid);
        CHECK_EQ(stop, SIGTRAP | 0x80);
        struct user_regs_struct r = regs_of(pid);
        CHECK_EQ(r.rax, -ENOSYS);
        if (r.orig_rax == SYS_exit_group) break;
        if (r.orig_rax == SYS_getppid) {
            calls++;
            struct __ptrace_syscall_info info;
            CHECK(ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info) > 0);
            CHECK(info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_getppid);
            CHECK(info.instruction_pointer < 0x7ffffffff000);
            if (calls == 3) {
                r.orig_rax = SYS_getpid;
                CHECK(ptrace(PTRACE_SETREGS, pid, NULL, &r) == 0);
            }
        }
        CHECK(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0);
        CHECK_EQ(stop_of(pid), SIGTRAP | 0x80);
        if (r.orig_rax == SYS_getppid || (calls == 3 && r.orig_rax == SYS_getpid)) {
            struct user_regs_struct after = regs_of(pid);
            CHECK_EQ(after.rax, calls == 3 ? pid : getpid());
            if (calls == 4) {
                after.rax = 4711;
                CHECK(ptrace(PTRACE_SETREGS, pid, NULL, &after) == 0);
                calls = 100;
            }
        }
    }
    CHECK_EQ(calls, 100);
    CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
    // The target adds up what it got: see target().
    expect_exit(pid, 17);
    puts("calls traced");
}

static void breakpoints(const char *path, const struct places *p) {
    cpu_set_t cpus = stay_here();
    pid_t pid = start_target(path, 0);
    for (int i = 0; i < 5; i++) {
        run_to(pid, p->tick);
        struct user_regs_struct r = regs_of(pid);
        CHECK_EQ(r.rdi, i);
        CHECK_EQ(peek(pid, p->buffer), 0x6867666564636261);
        // Past the breakpoint by one step, or the next one would be this one.
        CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
        CHECK_EQ(stop_of(pid), SIGTRAP);
        CHECK(regs_of(pid).rip != p->tick);
    }
    puts("breakpoints hit");
    // Single steps: through tick, back in main, through libc and over system calls.
    int steps = 0, calls = 0;
    for (; steps < 3000; steps++) {
        struct user_regs_struct r = regs_of(pid);
        unsigned long word = (unsigned long)peek(pid, r.rip);
        calls += (word & 0xffff) == 0x050f || (word & 0xff) == 0xe8;
        CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
        CHECK_EQ(stop_of(pid), SIGTRAP);
    }
    CHECK(calls > 0);
    puts("single steps");
    // The selectors cannot be changed into the kernel's; other registers can.
    struct user_regs_struct r = regs_of(pid), forged = r;
    forged.cs = 0x10;
    long set = ptrace(PTRACE_SETREGS, pid, NULL, &forged);
    CHECK(set == 0 || errno == EIO);
    CHECK(ptrace(PTRACE_SETREGS, pid, NULL, &r) == 0);
    forged = r;
    forged.rip = 0xffffffff81000000;
    set = ptrace(PTRACE_SETREGS, pid, NULL, &forged);
    CHECK(set == 0 || errno == EIO);
    CHECK(ptrace(PTRACE_SETREGS, pid, NULL, &r) == 0);
    forged = r;
    forged.r15 = 0x1234567890;
    CHECK(ptrace(PTRACE_SETREGS, pid, NULL, &forged) == 0);
    CHECK_EQ(regs_of(pid).r15, 0x1234567890);
    CHECK(ptrace(PTRACE_SETREGS, pid, NULL, &r) == 0);
    struct user_fpregs_struct fp;
    struct iovec v = {&fp, sizeof fp};
    CHECK(ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRFPREG, &v) == 0 && v.iov_len == sizeof fp);
    CHECK(ptrace(PTRACE_SETREGSET, pid, (void *)NT_PRFPREG, &v) == 0);
    puts("registers set");
    CHECK(kill(pid, SIGKILL) == 0);
    expect_signal(pid, SIGKILL);
    CHECK(sched_setaffinity(0, sizeof cpus, &cpus) == 0);
}

static void debug_register(pid_t pid, int n, unsigned long value) {
    CHECK(ptrace(PTRACE_POKEUSER, pid, (void *)(offsetof(struct user, u_debugreg) + (size_t)n * 8), (void *)value) == 0);
}

__attribute__((unused)) static void watchpoint(const char *path, const struct places *p) {
    pid_t pid = start_target(path, 0);
    debug_register(pid, 0, p->watched);
    debug_register(pid, 7, 1 | 1 << 16 | 3 << 18);  // break on a write of four bytes
    for (int i = 0; i < 5; i++) {
        CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
        CHECK_EQ(stop_of(pid), SIGTRAP);
        errno = 0;
        unsigned long dr6 = (unsigned long)ptrace(PTRACE_PEEKUSER, pid, (void *)(offsetof(struct user, u_debugreg) + 48), NULL);
        CHECK(errno == 0 && (dr6 & 1));
        debug_register(pid, 6, 0);
        CHECK_EQ((int)peek(pid, p->watched), i + 1);
        regs_of(pid);
    }
    // One on the kernel's memory is refused.
    CHECK(ptrace(PTRACE_POKEUSER, pid, (void *)offsetof(struct user, u_debugreg[1]), (void *)0xffffffff81000000) == -1 ||
          ptrace(PTRACE_POKEUSER, pid, (void *)offsetof(struct user, u_debugreg[7]), (void *)(1ul | 4)) == -1);
    CHECK(kill(pid, SIGKILL) == 0);
    expect_signal(pid, SIGKILL);
    puts("watchpoint hit 5");
}

static void attach(const char *path, const struct places *p) {
    // A process that nobody traced from the start, stopped in a blocked call and in a loop. exec closes the pipe.
    int ends[2];
    char none;
    SYS(pipe2(ends, O_CLOEXEC));
    pid_t pid = SYS(fork());
    if (pid == 0) {
        const char *ring_var = getenv("UKL_TARGET_RING");
        if (ring_var) setenv("UKL_EXPECT_RING", ring_var, 1);
        execl(path, "ptrace", "idle", NULL);
        _exit(99);
    }
    close(ends[1]);
    CHECK_EQ(read(ends[0], &none, 1), 0);
    close(ends[0]);
    sleep_ms(200);
    for (int i = 0; i < 5; i++) {
        CHECK(ptrace(PTRACE_ATTACH, pid, NULL, NULL) == 0);
        int stop = stop_of(pid);
        // exec closes the pipe before it ends: its SIGTRAP comes first if the process has a tracer by then.
        if (i == 0 && stop == SIGTRAP) {
            CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
            stop = stop_of(pid);
        }
        CHECK_EQ(stop, SIGSTOP);
        regs_of(pid);
        CHECK_EQ(peek(pid, p->buffer), 0x6867666564636261);
        CHECK(ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0);
        sleep_ms(5);
        CHECK(ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0);
        CHECK(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0);
        CHECK_EQ(stop_of(pid), SIGTRAP | PTRACE_EVENT_STOP << 8);
        regs_of(pid);
        CHECK(ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0);
    }
    // Detached it goes on as ever: this tells it to leave.
    CHECK(ptrace(PTRACE_ATTACH, pid, NULL, NULL) == 0);
    CHECK_EQ(stop_of(pid), SIGSTOP);
    long word = peek(pid, p->watched);
    poke(pid, p->watched, (word & ~0xffffffffl) | 1000);
    CHECK(ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0);
    expect_exit(pid, 18);
    puts("attached 10");
}

static void events(const char *path) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
        CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        const char *ring_var = getenv("UKL_TARGET_RING");
        if (ring_var) setenv("UKL_EXPECT_RING", ring_var, 1);
        execl(path, "ptrace", "family", NULL);
        _exit(99);
    }
    CHECK_EQ(stop_of(pid), SIGTRAP);
    CHECK(ptrace(PTRACE_SETOPTIONS, pid, NULL,
                 (void *)(intptr_t)(PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
                                    PTRACE_O_TRACEEXIT)) == 0);
    CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
    int forks = 0, execs = 0, exits = 0, code = -1, status;
    pid_t who;
    // A child may run and end before its parent's stop tells of it: only an empty wait means all.
    while ((who = waitpid(-1, &status, __WALL)) > 0) {
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (who == pid) code = WEXITSTATUS(status);
            continue;
        }
        int sig = 0;
        switch (status >> 16) {
        case PTRACE_EVENT_FORK:
        case PTRACE_EVENT_VFORK: forks++; break;
        case PTRACE_EVENT_EXEC: execs++; break;
        case PTRACE_EVENT_EXIT: exits++; break;
        default:
            if (WSTOPSIG(status) != SIGSTOP) sig = WSTOPSIG(status);
        }
        CHECK(ptrace(PTRACE_CONT, who, NULL, (void *)(intptr_t)sig) == 0);
    }
    CHECK_EQ(errno, ECHILD);
    CHECK_EQ(code, 19);
    printf("events: %d forks, %d execs, %d exits\n", forks, execs, exits);
}

static int run_tracer(const char *path, const struct places *p) {
    trace_calls(path);
    breakpoints(path, p);
    attach(path, p);
    events(path);
    fflush(stdout);
    return 0;
}

#endif
