// 64 MiB through a loopback connection between two threads and 16 MiB through a pipe between two processes, checked.
//#Libs: -pthread
//#Timeout: 120
//#Expect-stdout: socket 67108864
//#Expect-stdout: pipe 16777216
#include "common.h"
#include <netinet/in.h>
#include <sys/socket.h>

enum { BLOCK = 65536 };

static uint32_t pattern(uint32_t i) { return i * 2654435761u; }

static void produce(int fd, long bytes) {
    static uint32_t block[BLOCK / 4];
    uint32_t i = 0;
    for (long left = bytes; left > 0;) {
        for (size_t j = 0; j < BLOCK / 4; j++) block[j] = pattern(i++);
        for (long at = 0; at < BLOCK;) at += SYS(write(fd, (char *)block + at, (size_t)(BLOCK - at)));
        left -= BLOCK;
    }
}

static long consume(int fd) {
    static uint32_t block[BLOCK / 4];
    uint32_t i = 0;
    long total = 0;
    for (;;) {
        size_t n = 0;
        for (ssize_t r; n < BLOCK && (r = SYS(read(fd, (char *)block + n, BLOCK - n))) > 0;) n += (size_t)r;
        if (n == 0) return total;
        for (size_t j = 0; j < n / 4; j++) CHECK_EQ(block[j], pattern(i++));
        total += (long)n;
    }
}

static void *server(void *arg) {
    int fd = SYS(accept(*(int *)arg, NULL, NULL));
    produce(fd, 64 << 20);
    close(fd);
    return NULL;
}

int main(void) {
    int listener = SYS(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    SYS(bind(listener, (struct sockaddr *)&a, sizeof a));
    SYS(listen(listener, 1));
    SYS(getsockname(listener, (struct sockaddr *)&a, &len));
    pthread_t t;
    PT(pthread_create(&t, NULL, server, &listener));
    int fd = SYS(socket(AF_INET, SOCK_STREAM, 0));
    SYS(connect(fd, (struct sockaddr *)&a, sizeof a));
    printf("socket %ld\n", consume(fd));
    PT(pthread_join(t, NULL));
    fflush(stdout);
    int p[2];
    SYS(pipe(p));
    pid_t pid = SYS(fork());
    if (pid == 0) {
        close(p[0]);
        produce(p[1], 16 << 20);
        _exit(0);
    }
    close(p[1]);
    printf("pipe %ld\n", consume(p[0]));
    expect_exit(pid, 0);
    return PASS;
}
