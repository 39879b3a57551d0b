// gdb as an ordinary process debugs the program: breakpoint by function, backtrace with arguments, variables, a step
// over a call into the kernel, a watchpoint, a caught signal.
//#Skip-host: the wrapper is a guest's
//#CFlags: -O0 --ukl-debug
//#Run-args: --host-tools --wrap "gdb -nx -batch -ex 'set confirm off' -ex 'break inner' -ex run -ex backtrace -ex 'info registers cs' -ex 'print total' -ex 'print square(7)' -ex 'delete' -ex 'watch total' -ex continue -ex continue -ex delete -ex 'catch syscall getppid' -ex continue -ex delete -ex continue -ex 'print $_siginfo.si_signo' -ex 'backtrace 3' -ex continue --args"
//#Mem: 1G
//#Cpus: 1
//#Timeout: 240
//#Exit: 0
//#Stdout-contains: Breakpoint 1, inner (depth=3) at
//#Stdout-contains: #0  inner (depth=3) at
//#Stdout-contains: in outer (depth=3) at
//#Stdout-contains: in main () at
//#Stdout-contains: 0x33
//#Stdout-contains: $1 = 0
//#Stdout-contains: $2 = 49
//#Stdout-contains: Hardware watchpoint 2: total
//#Stdout-contains: New value = 3
//#Stdout-contains: New value = 5
//#Stdout-contains: Catchpoint 3 (call to syscall getppid)
//#Stdout-contains: received signal SIGUSR1
//#Stdout-contains: $3 = 10
//#Stdout-contains: raise
//#Stdout-contains: exited with code 052
#include "common.h"

static int total;

static __attribute__((noinline)) void inner(int depth) {
    total += depth;
}

static __attribute__((noinline)) void outer(int depth) {
    inner(depth);
    total += 2;
}

__attribute__((noinline)) int square(int n) { return n * n; }

static void hit(int sig, siginfo_t *si, void *ctx) { (void)sig, (void)si, (void)ctx; }

int main(void) {
    handle(SIGUSR1, hit, 0);
    outer(3);
    CHECK(getppid() > 0 && square(2) == 4);
    raise(SIGUSR1);
    return total == 5 ? PASS : 1;
}
