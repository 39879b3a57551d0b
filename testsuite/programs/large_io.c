// Large reads and writes: 32 MiB in one call to a file, to /dev/null, from /dev/zero; a buffer that ends at an
// unmapped page gives a short count, not a fault; interrupted large transfers stay consistent.
//#Expect-stdout: one call 33554432
//#Expect-stdout: zero and null
//#Expect-stdout: short at the edge
//#Expect-stdout: interrupted, nothing lost
#include "common.h"

static volatile int ticks;
static void tick(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    ticks++;
}

// Writes numbers to a pipe, in large calls that signals cut short, until some were. A child reads and checks them.
static void interrupted(void) {
    enum { COUNT = 1 << 18 };
    static unsigned numbers[COUNT];
    int pipes[2], cut = 0;
    SYS(pipe(pipes));
    pid_t pid = SYS(fork());
    if (pid == 0) {
        unsigned expected = 0, word;
        FILE *in = fdopen(pipes[0], "r");
        close(pipes[1]);
        for (; fread(&word, sizeof word, 1, in) == 1; expected++) CHECK_EQ(word, expected % COUNT);
        CHECK(feof(in) && expected > 0);
        _exit(expected % COUNT == 0 ? 7 : 8);
    }
    close(pipes[0]);
    for (unsigned i = 0; i < COUNT; i++) numbers[i] = i;
    handle(SIGALRM, tick, 0);
    struct itimerval fast = {{0, 2000}, {0, 2000}}, off = {{0, 0}, {0, 0}};
    CHECK(setitimer(ITIMER_REAL, &fast, NULL) == 0);
    while (cut < 5) {
        for (size_t at = 0; at < sizeof numbers;) {
            ssize_t n = write(pipes[1], (char *)numbers + at, sizeof numbers - at);
            CHECK(n > 0 || (n == -1 && errno == EINTR));
            if (n < (ssize_t)(sizeof numbers - at)) cut++;
            if (n > 0) at += (size_t)n;
        }
    }
    CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
    CHECK(ticks > 0);
    close(pipes[1]);
    expect_exit(pid, 7);
    puts("interrupted, nothing lost");
}

int main(void) {
    size_t size = 32 << 20;
    char *p = SYS(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (size_t i = 0; i < size; i += 64) p[i] = (char)(i >> 6);
    const char *name = tmp_path("large");
    int fd = SYS(open(name, O_CREAT | O_RDWR | O_TRUNC, 0600));
    unlink(name);
    ssize_t n = write(fd, p, size);
    char *q = SYS(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(pread(fd, q, size, 0) == n);
    CHECK(memcmp(p, q, size) == 0);
    printf("one call %zd\n", n);
    int zero = SYS(open("/dev/zero", O_RDONLY)), null = SYS(open("/dev/null", O_WRONLY));
    CHECK(read(zero, q, size) == (ssize_t)size);
    for (size_t i = 0; i < size; i += 64) CHECK_EQ(q[i], 0);
    CHECK(write(null, p, size) == (ssize_t)size);
    puts("zero and null");
    CHECK(munmap(q + 3 * 4096, 4096) == 0);
    n = pread(fd, q + 4096, 4 * 4096, 0);
    CHECK(n > 0 && n <= 2 * 4096);
    int pipes[2];
    SYS(pipe(pipes));
    n = write(pipes[1], q + 2 * 4096, 2 * 4096);
    CHECK_EQ(n, 4096);
    puts("short at the edge");
    fflush(stdout);
    interrupted();
    return PASS;
}
