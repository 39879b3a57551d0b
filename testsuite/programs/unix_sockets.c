// Unix sockets: pairs, named and abstract ones, descriptors and credentials in messages between processes.
//#Expect-stdout: descriptor passed
//#Expect-stdout: credentials right
//#Expect-stdout: named
//#Expect-stdout: abstract datagram
#include "common.h"
#include <sys/socket.h>
#include <sys/un.h>

static void send_fd(int via, int fd) {
    char byte = 'f';
    union {
        struct cmsghdr h;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    CHECK(sendmsg(via, &m, 0) == 1);
}

static int receive_fd(int via) {
    char byte;
    int fd = -1;
    char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK(recvmsg(via, &m, 0) == 1);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
    return fd;
}

int main(void) {
    int pair[2], gate[2];
    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    SYS(pipe(gate));
    pid_t pid = SYS(fork());
    if (pid == 0) {
        int fd = receive_fd(pair[1]);
        CHECK(write(fd, "through", 7) == 7);
        _exit(9);
    }
    send_fd(pair[0], gate[1]);
    char text[100];
    CHECK(read(gate[0], text, 7) == 7 && memcmp(text, "through", 7) == 0);
    expect_exit(pid, 9);
    puts("descriptor passed");
    struct ucred cred;
    socklen_t len = sizeof cred;
    SYS(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &cred, &len));
    CHECK(cred.pid == getpid() && cred.uid == getuid());
    puts("credentials right");
    fflush(stdout);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", tmp_path("socket"));
    int listener = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
    SYS(bind(listener, (struct sockaddr *)&a, sizeof a));
    SYS(listen(listener, 4));
    pid = SYS(fork());
    if (pid == 0) {
        int fd = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
        SYS(connect(fd, (struct sockaddr *)&a, sizeof a));
        CHECK(write(fd, "named", 5) == 5);
        _exit(0);
    }
    int fd = SYS(accept(listener, NULL, NULL));
    CHECK(read(fd, text, 5) == 5);
    expect_exit(pid, 0);
    unlink(a.sun_path);
    puts("named");
    int x = SYS(socket(AF_UNIX, SOCK_DGRAM, 0)), y = SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
    a.sun_path[0] = 0;
    snprintf(a.sun_path + 1, 40, "ukl-test-%d", getpid());
    SYS(bind(x, (struct sockaddr *)&a, sizeof a));
    CHECK(sendto(y, "dgram", 5, 0, (struct sockaddr *)&a, sizeof a) == 5);
    CHECK(recv(x, text, sizeof text, 0) == 5);
    puts("abstract datagram");
    return PASS;
}
