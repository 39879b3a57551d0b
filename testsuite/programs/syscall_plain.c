// SYSCALL instructions that no rewriter has seen, in code made at run time. They change rax, rcx and r11 and nothing
// else; signal handlers, debuggers and children see all registers; and a new seccomp filter applies to the next one.
//#Expect-stdout: registers kept 300
//#Expect-stdout: numbers
//#Expect-stdout: interrupted
//#Expect-stdout: restarted
//#Expect-stdout: forked
//#Expect-stdout: executed
//#Expect-stdout: traced
//#Expect-stdout: filtered
#include "common.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <ucontext.h>

struct regs {
    long rax, rbx, rdx, rsi, rdi, rbp, r8, r9, r10, r12, r13, r14, r15, rcx, r11, flags;
};

// Loads the registers from *rdi, makes the system call, and stores the registers to *rdi. In a data section, so that
// the rewriter does not take it for code.
extern const char plain_begin[], plain_syscall[], plain_end[];
__asm__(
    ".data\nplain_begin:\n"
    "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\npush %rdi\n"
    "mov (%rdi),%rax\nmov 8(%rdi),%rbx\nmov 16(%rdi),%rdx\nmov 24(%rdi),%rsi\nmov 40(%rdi),%rbp\n"
    "mov 48(%rdi),%r8\nmov 56(%rdi),%r9\nmov 64(%rdi),%r10\nmov 72(%rdi),%r12\nmov 80(%rdi),%r13\n"
    "mov 88(%rdi),%r14\nmov 96(%rdi),%r15\n"
    "push 120(%rdi)\nmov 32(%rdi),%rdi\npopfq\n"
    "plain_syscall: syscall\n"
    "xchg %rax,(%rsp)\n"
    "mov %rbx,8(%rax)\nmov %rdx,16(%rax)\nmov %rsi,24(%rax)\nmov %rdi,32(%rax)\nmov %rbp,40(%rax)\n"
    "mov %r8,48(%rax)\nmov %r9,56(%rax)\nmov %r10,64(%rax)\nmov %r12,72(%rax)\nmov %r13,80(%rax)\n"
    "mov %r14,88(%rax)\nmov %r15,96(%rax)\nmov %rcx,104(%rax)\nmov %r11,112(%rax)\n"
    "pushfq\npop 120(%rax)\npop (%rax)\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n"
    "plain_end:\n.previous\n");

static void (*plain)(struct regs *);
static long behind;  // the address of the instruction after the SYSCALL

// Values that show in which register they were.
static struct regs distinct(long number) {
    struct regs r;
    long *word = (long *)&r;
    for (size_t w = 0; w < sizeof r / 8; w++) word[w] = (long)(0x0101010101010101ul * (w + 1));
    r.rax = number;
    r.flags = 0x202;
    return r;
}

static long call(struct regs in) {
    struct regs r = in;
    plain(&r);
    long result = r.rax;
    in.rax = result;
    CHECK_EQ(r.rcx, behind);
    CHECK_EQ(r.r11, r.flags);
    in.rcx = r.rcx;
    in.r11 = r.r11;
    CHECK(memcmp(&r, &in, sizeof r) == 0);
    return result;
}

static long call3(long number, long a, long b, long c) {
    struct regs r = distinct(number);
    r.rdi = a, r.rsi = b, r.rdx = c;
    return call(r);
}

static struct regs expected;
static volatile int handled, restart;
static int fd[2];

static void handler(int sig, siginfo_t *si, void *context) {
    (void)sig, (void)si;
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    // A tick may also come before the call or after it.
    if (g[REG_RIP] != (restart ? behind - 2 : behind)) return;
    CHECK_EQ(g[REG_RAX], restart ? SYS_read : -EINTR);
    CHECK_EQ(g[REG_RBX], expected.rbx);
    CHECK_EQ(g[REG_RBP], expected.rbp);
    CHECK_EQ(g[REG_RDI], expected.rdi);
    CHECK_EQ(g[REG_RSI], expected.rsi);
    CHECK_EQ(g[REG_RDX], expected.rdx);
    CHECK_EQ(g[REG_R8], expected.r8);
    CHECK_EQ(g[REG_R9], expected.r9);
    CHECK_EQ(g[REG_R10], expected.r10);
    CHECK_EQ(g[REG_R12], expected.r12);
    CHECK_EQ(g[REG_R13], expected.r13);
    CHECK_EQ(g[REG_R14], expected.r14);
    CHECK_EQ(g[REG_R15], expected.r15);
    if (++handled == 3 && restart) CHECK(write(fd[1], "x", 1) == 1);
}

static void ticks(int on) {
    struct itimerval timer = {{0, on * 20000}, {0, on * 20000}};
    SYS(setitimer(ITIMER_REAL, &timer, NULL));
}

static void blocking_read(void) {
    static char byte;
    expected = distinct(SYS_read);
    expected.rdi = fd[0], expected.rsi = (long)&byte, expected.rdx = 1;
}

static void trace(void) {
    blocking_read();
    pid_t child = SYS(fork());
    if (child == 0) {
        call(expected);
        _exit(6);
    }
    SYS(ptrace(PTRACE_SEIZE, child, NULL, NULL));
    struct user_regs_struct r;
    int status;
    // Until the child is in the call.
    for (;;) {
        SYS(ptrace(PTRACE_INTERRUPT, child, NULL, NULL));
        CHECK(SYS(waitpid(child, &status, 0)) == child && WIFSTOPPED(status));
        SYS(ptrace(PTRACE_GETREGS, child, NULL, &r));
        if ((long)r.rip == behind || (long)r.rip == behind - 2) break;
        SYS(ptrace(PTRACE_CONT, child, NULL, NULL));
        usleep(1000);
    }
    CHECK_EQ(r.orig_rax, SYS_read);
    CHECK_EQ(r.rbx, expected.rbx);
    CHECK_EQ(r.rbp, expected.rbp);
    CHECK_EQ(r.rdi, expected.rdi);
    CHECK_EQ(r.r10, expected.r10);
    CHECK_EQ(r.r12, expected.r12);
    CHECK_EQ(r.r13, expected.r13);
    CHECK_EQ(r.r14, expected.r14);
    CHECK_EQ(r.r15, expected.r15);
    SYS(ptrace(PTRACE_DETACH, child, NULL, NULL));
    CHECK(write(fd[1], "x", 1) == 1);
    expect_exit(child, 6);
}

static void filter(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    pid_t child = SYS(fork());
    if (child == 0) {
        CHECK_EQ(call3(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0), -EINVAL);
        CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        CHECK(call3(SYS_getppid, 0, 0, 0) > 0);
        CHECK_EQ(call3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)&program), 0);
        CHECK_EQ(call3(SYS_getppid, 0, 0, 0), -77);
        _exit(8);
    }
    expect_exit(child, 8);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "again") == 0) return 5;
    size_t size = (size_t)(plain_end - plain_begin);
    char *page = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memcpy(page, plain_begin, size);
    CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
    plain = (void (*)(struct regs *))(uintptr_t)page;
    behind = (long)page + (plain_syscall - plain_begin) + 2;

    long pid = getpid();
    struct timespec moment = {0, 1000};
    int n;
    for (n = 0; n < 300; n++) {
        CHECK_EQ(call(distinct(SYS_getpid)), pid);
        struct regs r = distinct(SYS_getpid);
        r.flags = 0x202 | (n & 1) | (n & 2) << 5 | (n & 4) << 9 | (n & 8) << 7;  // carry, zero, overflow, direction
        CHECK_EQ(call(r), pid);
        if (n % 10 == 0) CHECK_EQ(call3(SYS_nanosleep, (long)&moment, 0, 0), 0);
        CHECK_EQ(call3(SYS_read, -1, 0, 0), -EBADF);
    }
    printf("registers kept %d\n", n);

    // Only the low half of rax is the number.
    CHECK_EQ(call(distinct(0x100000000 | SYS_getpid)), pid);
    long wrong[] = {460 + 200, 511, 512, 0x7fffffff, -1, (long)0x8000000000000000 | 700};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) CHECK_EQ(call(distinct(wrong[i])), -ENOSYS);
    puts("numbers");

    SYS(pipe(fd));
    blocking_read();
    handle(SIGALRM, handler, 0);
    ticks(1);
    while (handled < 3) CHECK_EQ(call(expected), -EINTR);
    ticks(0);
    puts("interrupted");
    restart = 1, handled = 0;
    handle(SIGALRM, handler, SA_RESTART);
    ticks(1);
    CHECK_EQ(call(expected), 1);
    ticks(0);
    CHECK(handled >= 3);
    puts("restarted");
    fflush(stdout);

    // In both processes the registers are those before the call.
    long child = call(distinct(SYS_fork));
    if (child == 0) _exit(7);
    expect_exit((pid_t)child, 7);
    child = call3(SYS_clone, SIGCHLD, 0, 0);
    if (child == 0) _exit(7);
    expect_exit((pid_t)child, 7);
    puts("forked");
    fflush(stdout);
    child = fork();
    if (child == 0) {
        char *arguments[] = {argv[0], "again", NULL}, **environment = environ;
        call3(SYS_execve, (long)"/proc/self/exe", (long)arguments, (long)environment);
        _exit(1);
    }
    expect_exit((pid_t)child, 5);
    puts("executed");
    fflush(stdout);
    trace();
    puts("traced");
    fflush(stdout);
    filter();
    puts("filtered");
    return PASS;
}
