// epoll: level and edge triggering, one-shot, nested sets, a waiter woken from another thread, timeouts, 500 pipes.
//#Libs: -pthread
//#Expect-stdout: level and edge
//#Expect-stdout: woken 200
//#Expect-stdout: many 250
//#Expect-stdout: nested
#include "common.h"
#include <sys/epoll.h>
#include <sys/resource.h>

static int fd[2];
static void *writer(void *arg) {
    for (int i = 0; i < 200; i++) CHECK(write(*(int *)arg, "x", 1) == 1);
    return NULL;
}

int main(void) {
    struct rlimit rl = {2048, 2048};
    setrlimit(RLIMIT_NOFILE, &rl);
    int ep = SYS(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = 1}, got[300];
    SYS(pipe2(fd, O_NONBLOCK));
    SYS(epoll_ctl(ep, EPOLL_CTL_ADD, fd[0], &ev));
    CHECK_EQ(epoll_wait(ep, got, 4, 0), 0);
    CHECK_EQ(epoll_wait(ep, got, 4, 20), 0);
    CHECK(write(fd[1], "ab", 2) == 2);
    CHECK_EQ(epoll_wait(ep, got, 4, -1), 1);
    CHECK_EQ(epoll_wait(ep, got, 4, -1), 1);
    ev.events = EPOLLIN | EPOLLET;
    SYS(epoll_ctl(ep, EPOLL_CTL_MOD, fd[0], &ev));
    CHECK_EQ(epoll_wait(ep, got, 4, 0), 1);
    CHECK_EQ(epoll_wait(ep, got, 4, 0), 0);
    ev.events = EPOLLIN | EPOLLONESHOT;
    SYS(epoll_ctl(ep, EPOLL_CTL_MOD, fd[0], &ev));
    CHECK_EQ(epoll_wait(ep, got, 4, 0), 1);
    CHECK_EQ(epoll_wait(ep, got, 4, 0), 0);
    puts("level and edge");
    ev.events = EPOLLIN;
    SYS(epoll_ctl(ep, EPOLL_CTL_MOD, fd[0], &ev));
    char c[8];
    CHECK(read(fd[0], c, 8) == 2);
    pthread_t t;
    PT(pthread_create(&t, NULL, writer, &fd[1]));
    int n = 0;
    while (n < 200) {
        CHECK_EQ(epoll_wait(ep, got, 4, 20000), 1);
        ssize_t r = read(fd[0], c, 1);
        CHECK(r == 1);
        n++;
    }
    PT(pthread_join(t, NULL));
    printf("woken %d\n", n);
    static int pipes[250][2];
    for (int i = 0; i < 250; i++) {
        SYS(pipe(pipes[i]));
        ev.events = EPOLLIN, ev.data.u32 = (uint32_t)(100 + i);
        SYS(epoll_ctl(ep, EPOLL_CTL_ADD, pipes[i][0], &ev));
        CHECK(write(pipes[i][1], "x", 1) == 1);
    }
    n = 0;
    char seen[250] = {0};
    while (n < 250) {
        int k = SYS(epoll_pwait(ep, got, 60, 1000, NULL));
        CHECK(k > 0);
        for (int i = 0; i < k; i++, n++) {
            uint32_t w = got[i].data.u32 - 100;
            CHECK(w < 250 && !seen[w]++);
            CHECK(read(pipes[w][0], c, 1) == 1);
        }
    }
    printf("many %d\n", n);
    int outer = SYS(epoll_create1(0));
    ev.events = EPOLLIN;
    SYS(epoll_ctl(outer, EPOLL_CTL_ADD, ep, &ev));
    CHECK_EQ(epoll_wait(outer, got, 4, 0), 0);
    CHECK(write(pipes[7][1], "x", 1) == 1);
    CHECK_EQ(epoll_wait(outer, got, 4, 1000), 1);
    puts("nested");
    return PASS;
}
