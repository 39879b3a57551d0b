// TCP over loopback, IPv4 and IPv6: a server thread, many connections, half-close, a refused connection, non-blocking
// connect.
//#Libs: -pthread
//#Expect-stdout: IPv4 echoed 50
//#Expect-stdout: IPv6 echoed 50
//#Expect-stdout: refused
//#Expect-stdout: non-blocking
#include "common.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

static void *serve(void *arg) {
    int listener = *(int *)arg;
    for (int i = 0; i < 50; i++) {
        int fd = SYS(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
        char buffer[3000];
        for (ssize_t n; (n = SYS(recv(fd, buffer, sizeof buffer, 0))) > 0;)
            for (ssize_t at = 0; at < n;) at += SYS(send(fd, buffer + at, (size_t)(n - at), MSG_NOSIGNAL));
        close(fd);
    }
    return NULL;
}

static int family_run(int family) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a;
    memset(&a, 0, sizeof a);
    socklen_t len = family == AF_INET ? sizeof a.v4 : sizeof a.v6;
    a.any.sa_family = (sa_family_t)family;
    if (family == AF_INET) a.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else a.v6.sin6_addr = in6addr_loopback;
    int listener = SYS(socket(family, SOCK_STREAM, 0)), one = 1;
    SYS(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    SYS(bind(listener, &a.any, len));
    SYS(listen(listener, 8));
    SYS(getsockname(listener, &a.any, &len));
    pthread_t t;
    PT(pthread_create(&t, NULL, serve, &listener));
    int done = 0;
    for (int i = 0; i < 50; i++) {
        int fd = SYS(socket(family, SOCK_STREAM, 0));
        SYS(connect(fd, &a.any, len));
        SYS(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
        static char out[5000], in[5000];
        memset(out, i, sizeof out);
        size_t size = (size_t)(i * 97 + 1), n = 0;
        CHECK(send(fd, out, size, 0) == (ssize_t)size);
        SYS(shutdown(fd, SHUT_WR));
        for (ssize_t r; (r = SYS(read(fd, in + n, sizeof in - n))) > 0;) n += (size_t)r;
        CHECK(n == size && memcmp(in, out, n) == 0);
        close(fd);
        done++;
    }
    PT(pthread_join(t, NULL));
    close(listener);
    return done;
}

int main(void) {
    printf("IPv4 echoed %d\n", family_run(AF_INET));
    printf("IPv6 echoed %d\n", family_run(AF_INET6));
    int fd = SYS(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(1), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    CHECK(connect(fd, (struct sockaddr *)&a, sizeof a) == -1 && errno == ECONNREFUSED);
    puts("refused");
    int listener = SYS(socket(AF_INET, SOCK_STREAM, 0));
    a.sin_port = 0;
    SYS(bind(listener, (struct sockaddr *)&a, sizeof a));
    SYS(listen(listener, 1));
    socklen_t len = sizeof a;
    SYS(getsockname(listener, (struct sockaddr *)&a, &len));
    int nb = SYS(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    int r = connect(nb, (struct sockaddr *)&a, sizeof a);
    CHECK(r == 0 || errno == EINPROGRESS);
    struct pollfd p = {.fd = nb, .events = POLLOUT};
    CHECK(poll(&p, 1, 10000) == 1);
    int err;
    len = sizeof err;
    SYS(getsockopt(nb, SOL_SOCKET, SO_ERROR, &err, &len));
    CHECK_EQ(err, 0);
    char c;
    CHECK(recv(nb, &c, 1, 0) == -1 && errno == EAGAIN);
    puts("non-blocking");
    return PASS;
}
