// prctl, arch_prctl, personality, capabilities, limits, identities: what a program may ask about itself. GS belongs to
// the kernel in a ring-0 program, so ARCH_SET_GS fails there, clearly; FS is the program's in either ring.
//#Expect-stdout: names and signals
//#Expect-stdout: fs ok
//#Expect-stdout: gs as it should
//#Expect-stdout: limits
#include "common.h"
#include <asm/prctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>

int main(void) {
    char name[17] = "";
    CHECK(prctl(PR_SET_NAME, "battery-prctl-x") == 0 && prctl(PR_GET_NAME, name) == 0);
    CHECK(strcmp(name, "battery-prctl-x") == 0);
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0 && prctl(PR_GET_DUMPABLE) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
    puts("names and signals");
    unsigned long fs = 0;
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs) == 0);
    CHECK_EQ(fs, (uintptr_t)__builtin_thread_pointer());
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_FS, fs) == 0);
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_FS, 0xffffffff81000000) == -1 && errno == EPERM);
    CHECK_EQ((uintptr_t)__builtin_thread_pointer(), fs);
    puts("fs ok");
    long r = syscall(SYS_arch_prctl, ARCH_SET_GS, 0x100000);
    if (ring() == 3) {
        CHECK_EQ(r, 0);
        unsigned long gs = 0;
        CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs) == 0 && gs == 0x100000);
    } else {
        CHECK(r == -1 && errno == EPERM);
    }
    for (int i = 0; i < 1000; i++) CHECK(getppid() >= 0);
    puts("gs as it should");
    struct rlimit rl;
    CHECK(getrlimit(RLIMIT_NOFILE, &rl) == 0);
    rl.rlim_cur = 20;
    CHECK(setrlimit(RLIMIT_NOFILE, &rl) == 0);
    int fd;
    while ((fd = dup(0)) != -1) CHECK(fd < 20);
    CHECK_EQ(errno, EMFILE);
    puts("limits");
    return PASS;
}
