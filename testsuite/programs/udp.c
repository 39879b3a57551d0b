// UDP over loopback: sendto and recvfrom, connected sockets, recvmmsg, MSG_PEEK and MSG_TRUNC, unreachable ports.
//#Expect-stdout: datagrams 200
//#Expect-stdout: many 16
//#Expect-stdout: truncated
//#Expect-stdout: refused
#include "common.h"
#include <netinet/in.h>
#include <sys/socket.h>

int main(void) {
    int a = SYS(socket(AF_INET, SOCK_DGRAM, 0)), b = SYS(socket(AF_INET, SOCK_DGRAM, 0));
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}, to, from;
    socklen_t len = sizeof to;
    SYS(bind(a, (struct sockaddr *)&any, sizeof any));
    SYS(getsockname(a, (struct sockaddr *)&to, &len));
    char text[2000];
    int n = 0;
    for (int i = 0; i < 200; i++) {
        memset(text, i, sizeof text);
        CHECK(sendto(b, text, (size_t)(i * 7), 0, (struct sockaddr *)&to, sizeof to) == i * 7);
        len = sizeof from;
        CHECK(recvfrom(a, text, sizeof text, 0, (struct sockaddr *)&from, &len) == i * 7);
        CHECK(len == sizeof from && from.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
        n++;
    }
    printf("datagrams %d\n", n);
    SYS(connect(b, (struct sockaddr *)&to, sizeof to));
    struct mmsghdr msgs[16];
    struct iovec iov[16];
    char bytes[16][8];
    memset(msgs, 0, sizeof msgs);
    for (int i = 0; i < 16; i++) {
        bytes[i][0] = (char)i;
        iov[i] = (struct iovec){bytes[i], 1};
        msgs[i].msg_hdr.msg_iov = &iov[i];
        msgs[i].msg_hdr.msg_iovlen = 1;
    }
    CHECK_EQ(sendmmsg(b, msgs, 16, 0), 16);
    memset(bytes, 99, sizeof bytes);
    CHECK_EQ(recvmmsg(a, msgs, 16, MSG_WAITFORONE, NULL), 16);
    for (n = 0; n < 16; n++) CHECK_EQ(bytes[n][0], n);
    printf("many %d\n", n);
    CHECK(send(b, "0123456789", 10, 0) == 10);
    CHECK(recv(a, text, 4, MSG_PEEK) == 4 && recv(a, text, 4, MSG_TRUNC) == 10);
    puts("truncated");
    close(a);
    CHECK(send(b, "x", 1, 0) == 1);
    CHECK(recv(b, text, 1, 0) == -1 && errno == ECONNREFUSED);
    puts("refused");
    return PASS;
}
