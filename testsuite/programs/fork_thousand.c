// 1,000 forks in turn, and 60 children at once.
//#Timeout: 120
//#Expect-stdout: in turn 1000
//#Expect-stdout: at once 60
#include "common.h"

int main(void) {
    int done = 0;
    for (int i = 0; i < 1000; i++) {
        pid_t pid = SYS(fork());
        if (pid == 0) _exit(i % 200);
        expect_exit(pid, i % 200);
        done++;
    }
    printf("in turn %d\n", done);
    fflush(stdout);
    pid_t pid[60];
    int gate[2];
    SYS(pipe(gate));
    for (int i = 0; i < 60; i++) {
        pid[i] = SYS(fork());
        if (pid[i] == 0) {
            char c;
            close(gate[1]);
            CHECK(read(gate[0], &c, 1) == 0);
            _exit(i);
        }
    }
    close(gate[1]);
    done = 0;
    for (int i = 59; i >= 0; i--, done++) expect_exit(pid[i], i);
    printf("at once %d\n", done);
    return PASS;
}
