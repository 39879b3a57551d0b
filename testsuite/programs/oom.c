// A child that eats all memory is killed by the OOM killer; the parent survives, goes on allocating, and does it again.
// Only the child may be chosen: it offers itself.
//#Skip-host: would take the build host's memory
//#Alone: takes the whole machine's memory
//#Mem: 384M
//#Timeout: 300
//#Expect-stdout: killed 3, survived
#include "common.h"
#include <sys/resource.h>

static void offer(void) {
    int fd = SYS(open("/proc/self/oom_score_adj", O_WRONLY));
    CHECK(write(fd, "1000", 4) == 4);
    close(fd);
}

int main(void) {
    int n = 0;
    for (; n < 3; n++) {
        pid_t pid = SYS(fork());
        if (pid == 0) {
            offer();
            size_t step = 1 << 20;
            for (;;) {
                char *p = mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (p == MAP_FAILED) continue;
                memset(p, 1, step);
            }
        }
        expect_signal(pid, SIGKILL);
        char *p = malloc(4 << 20);
        CHECK(p != NULL);
        memset(p, 1, 4 << 20);
        free(p);
    }
    printf("killed %d, survived\n", n);
    return PASS;
}
