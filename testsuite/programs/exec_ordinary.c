// Ring 0 to ring 3 and back: a child execs an ordinary program, which execs this one again, which execs the ordinary
// one ... five times; each finds itself at its own ring.
//#Helper: ring3
//#Expect-stdout: there and back 5
#include "common.h"

int main(int argc, char **argv) {
    // argv: count, the ring of the start, the path of this program.
    char self[256], count[16], here[16];
    if (argc > 1) {
        CHECK_EQ(atoi(argv[2]), ring());
        snprintf(self, sizeof self, "%s", argv[3]);
    } else {
        ssize_t n = SYS(readlink("/proc/self/exe", self, sizeof self - 1));
        self[n] = 0;
    }
    int round = argc > 1 ? atoi(argv[1]) : 0;
    if (round == 5) {
        printf("there and back %d\n", round);
        return PASS;
    }
    snprintf(count, sizeof count, "%d", round + 1);
    snprintf(here, sizeof here, "%d", ring());
    const char *path = helper("ring3");
    execl(path, "ring3", "exec", self, count, here, self, NULL);
    CHECK(!"exec");
}
