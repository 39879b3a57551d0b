// Sockets of every family that needs no network.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static int listener;
static struct sockaddr_in address = { .sin_family = AF_INET };

static void *serve(void *arg)
{
	(void)arg;
	struct sockaddr_in peer;
	socklen_t size = sizeof peer;
	int fd = accept4(listener, (void *)&peer, &size, SOCK_CLOEXEC);
	char buffer[4096];
	ssize_t n;
	while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0)
		send(fd, buffer, n, MSG_NOSIGNAL);
	close(fd);
	return NULL;
}

int main(void)
{
	char buffer[4096] = { 0 };
	socklen_t size = sizeof address;
	int one = 1, got = 0;
	listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
	printf("bind %d\n", bind(listener, (void *)&address, sizeof address));
	printf("listen %d\n", listen(listener, 5));
	getsockname(listener, (void *)&address, &size);
	pthread_t thread;
	pthread_create(&thread, NULL, serve, NULL);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	printf("connect %d\n", connect(fd, (void *)&address, sizeof address));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	size = sizeof got;
	printf("option %d %d\n", getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &got, &size), got);
	long total = 0;
	for (int i = 0; i < 1000; i++) {
		snprintf(buffer, sizeof buffer, "message %d", i);
		size_t len = strlen(buffer) + 1;
		char back[100];
		write(fd, buffer, len);
		size_t have = 0;
		while (have < len)
			have += read(fd, back + have, len - have);
		total += !strcmp(back, buffer);
	}
	printf("echoed %ld\n", total);
	shutdown(fd, SHUT_WR);
	printf("end %zd\n", read(fd, buffer, 10));
	pthread_join(thread, NULL);
	close(fd);

	int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = { .sin_family = AF_INET }, from;
	inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
	bind(a, (void *)&to, sizeof to);
	size = sizeof to;
	getsockname(a, (void *)&to, &size);
	printf("sendto %zd\n", sendto(b, "datagram", 9, 0, (void *)&to, sizeof to));
	size = sizeof from;
	printf("recvfrom %zd", recvfrom(a, buffer, 100, 0, (void *)&from, &size));
	printf(" %s %u\n", buffer, size);
	struct iovec v = { "multi", 6 };
	struct mmsghdr mm[2] = { { .msg_hdr = { &to, sizeof to, &v, 1 } },
				 { .msg_hdr = { &to, sizeof to, &v, 1 } } };
	printf("sendmmsg %d\n", sendmmsg(b, mm, 2, 0));
	struct iovec w[2] = { { buffer, 100 }, { buffer + 100, 100 } };
	struct mmsghdr rr[2] = { { .msg_hdr = { NULL, 0, w, 1 } },
				 { .msg_hdr = { NULL, 0, w + 1, 1 } } };
	printf("recvmmsg %d", recvmmsg(a, rr, 2, MSG_WAITFORONE, NULL));
	printf(" %u %u %s\n", rr[0].msg_len, rr[1].msg_len, buffer + 100);

	int pair[2];
	socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair);
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec x = { "f", 1 };
	struct msghdr m = { .msg_iov = &x, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &a, sizeof a);
	printf("sendmsg %zd\n", sendmsg(pair[0], &m, 0));
	x.iov_base = buffer;
	printf("recvmsg %zd\n", recvmsg(pair[1], &m, 0));
	printf("passed %d\n", *(int *)CMSG_DATA(CMSG_FIRSTHDR(&m)) > 0);

	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = { .events = EPOLLIN, .data.fd = pair[1] }, r[4];
	printf("add %d\n", epoll_ctl(ep, EPOLL_CTL_ADD, pair[1], &e));
	printf("none %d\n", epoll_wait(ep, r, 4, 0));
	write(pair[0], "y", 1);
	sigset_t none;
	sigemptyset(&none);
	printf("one %d\n", epoll_pwait(ep, r, 4, 1000, &none));
	struct timespec t = { 1, 0 };
	printf("one %d\n", epoll_pwait2(ep, r, 4, &t, NULL));
	printf("connect refused %d\n", connect(b, (void *)&(struct sockaddr_un){ .sun_family = 99 }, 2));
	printf("ok\n");
	return 0;
}
