// A program execs itself 30 times over, handing a count and growing arguments on; signal dispositions, the working
// directory and descriptors behave as exec promises. A fresh exec stays at its ring.
//#Expect-stdout: 30 execs
#include "common.h"

static void nop(int sig, siginfo_t *si, void *ctx) { (void)sig, (void)si, (void)ctx; }

int main(int argc, char **argv) {
    int round = argc > 1 ? atoi(argv[1]) : 0;
    struct sigaction sa;
    if (round > 0) {
        CHECK_EQ(atoi(argv[3]), ring());
        CHECK(fcntl(atoi(argv[4]), F_GETFD) == -1 && errno == EBADF);  // close-on-exec
        CHECK(fcntl(100, F_GETFD) == 0);
        CHECK(sigaction(SIGUSR1, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL);
        CHECK(sigaction(SIGUSR2, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN);
        CHECK_EQ(argc, 5 + round - 1);
        char cwd[100];
        CHECK(getcwd(cwd, sizeof cwd) && strcmp(cwd, "/tmp") == 0);
    } else {
        CHECK(chdir("/tmp") == 0);
        CHECK(dup2(1, 100) == 100);
    }
    if (round == 30) {
        printf("%d execs\n", round);
        return PASS;
    }
    handle(SIGUSR1, nop, 0);
    signal(SIGUSR2, SIG_IGN);
    int fd = SYS(open("/dev/null", O_RDONLY | O_CLOEXEC));
    char count[16], here[16], number[16], *args[64] = {argv[0], count, "-", here, number};
    snprintf(count, sizeof count, "%d", round + 1);
    snprintf(here, sizeof here, "%d", ring());
    snprintf(number, sizeof number, "%d", fd);
    for (int i = 0; i < round; i++) args[5 + i] = "more";
    execv("/proc/self/exe", args);
    CHECK(!"exec");
}
