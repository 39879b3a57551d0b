// clone and clone3 by hand: CLONE_VM on a stack of one's own, the child's return from the call on that stack, tid
// words, CLONE_PARENT_SETTID, pidfds.
//#Expect-stdout: clone 50
//#Expect-stdout: clone3 50
//#Expect-stdout: pidfd ok
#include "common.h"
#include <linux/sched.h>
#include <poll.h>

static volatile int shared;
static int parent_tid, child_tid;

static int body(void *arg) {
    char here;
    CHECK((char *)&here < (char *)arg && (char *)&here > (char *)arg - 65536);
    shared++;
    return 21;
}

int main(void) {
    char *stack = SYS(mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0));
    for (int i = 0; i < 50; i++) {
        parent_tid = child_tid = 0;
        pid_t pid = SYS(clone(body, stack + 65536, CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD,
                              stack + 65536, &parent_tid, NULL, &child_tid));
        expect_exit(pid, 21);
        CHECK(parent_tid == pid && child_tid == pid && shared == i + 1);
    }
    printf("clone %d\n", shared);
    shared = 0;
    for (int i = 0; i < 50; i++) {
        struct clone_args a = {.exit_signal = SIGCHLD, .flags = CLONE_VM | CLONE_VFORK,
                               .stack = (uintptr_t)stack, .stack_size = 65536};
        long r;
        // The child's first instructions run with nothing on its stack; it must not return into this frame.
        __asm__ volatile(
            "mov $435, %%eax\n\t"
            "syscall\n\t"
            "test %%rax, %%rax\n\t"
            "jnz 1f\n\t"
            "lock incl %[shared]\n\t"
            "push $22\n\tpop %%rdi\n\t"
            "mov $60, %%eax\n\t"
            "syscall\n\t"
            "1:"
            : "=&a"(r)
            : "D"(&a), "S"(sizeof a), [shared] "m"(shared)
            : "rcx", "r11", "memory", "cc");
        CHECK(r > 0);
        expect_exit((pid_t)r, 22);
    }
    printf("clone3 %d\n", shared);
    fflush(stdout);
    int pidfd = -1;
    struct clone_args a = {.exit_signal = SIGCHLD, .flags = CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd};
    long pid = syscall(SYS_clone3, &a, sizeof a);
    CHECK(pid >= 0);
    if (pid == 0)
        for (;;) pause();
    CHECK(pidfd >= 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK(syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0);
    CHECK_EQ(poll(&p, 1, 10000), 1);
    siginfo_t si;
    CHECK(waitid(3 /* P_PIDFD */, (id_t)pidfd, &si, WEXITED) == 0 && si.si_status == SIGKILL);
    puts("pidfd ok");
    return PASS;
}
