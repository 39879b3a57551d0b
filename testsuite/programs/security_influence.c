// Who may look into a ring-0 program or change it: who may load modules. The program runs as nobody, is dumpable and
// says that anybody may trace it; another process of nobody's tries all ways that Linux has. None works, while each of
// them does on an ordinary process, and on the program for root. Nor does the program get a tracer by PTRACE_TRACEME.
//#Skip-host: needs to be root in a machine of its own
//#Helper: influence
//#Expect-stdout: nobody: as it should
//#Expect-stdout: root without CAP_SYS_MODULE: as it should
//#Expect-stdout: root: all ways work
//#Expect-stdout: asking an unprivileged parent: as it should
#include "common.h"
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#define WAYS 17
#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61
#endif

static char bytes[9] = "original";

static void drop_capability(void) {
    CHECK(prctl(PR_CAPBSET_DROP, CAP_SYS_MODULE) == 0);
}

static void root(void) {}

// How many ways work for the helper, once it is what `become` makes of it.
static int count(void (*become)(void), pid_t target) {
    char pid[16], address[32];
    snprintf(pid, sizeof pid, "%d", target);
    snprintf(address, sizeof address, "%lx", (unsigned long)bytes);
    fflush(stdout);
    pid_t child = SYS(fork());
    if (child == 0) {
        become();
        dup2(2, 1);
        execl(helper("influence"), "influence", pid, address, NULL);
        _exit(99);
    }
    return exit_status(child);
}

static pid_t start_target(void) {
    int gate[2];
    SYS(pipe(gate));
    pid_t pid = SYS(fork());
    if (pid == 0) {
        nobody();
        CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
        prctl(PR_SET_PTRACER, -1);
        signal(SIGWINCH, SIG_IGN);
        CHECK(write(gate[1], "r", 1) == 1);
        for (;;) pause();
    }
    char c;
    CHECK(read(gate[0], &c, 1) == 1);
    return pid;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "traceme") == 0) {
        nobody();
        CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
        // The parent drops its privileges meanwhile.
        struct stat of;
        char path[32];
        snprintf(path, sizeof path, "/proc/%d", getppid());
        do usleep(1000);
        while (stat(path, &of) == 0 && of.st_uid == 0);
        return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 23 : errno;
    }
    int ordinary = ring() == 3;
    pid_t target = start_target();
    CHECK_EQ(count(nobody, target), ordinary ? WAYS : 0);
    puts("nobody: as it should");
    CHECK_EQ(count(drop_capability, target), ordinary ? WAYS : 0);
    puts("root without CAP_SYS_MODULE: as it should");
    CHECK_EQ(count(root, target), WAYS);
    puts("root: all ways work");
    kill(target, SIGKILL);
    expect_signal(target, SIGKILL);

    char self[256] = "";
    SYS(readlink("/proc/self/exe", self, sizeof self - 1));
    pid_t pid = SYS(fork());
    if (pid == 0) {
        execl(helper("influence"), "influence", "parent", self, NULL);
        _exit(99);
    }
    expect_exit(pid, ordinary ? 23 : EPERM);
    puts("asking an unprivileged parent: as it should");
    return PASS;
}
