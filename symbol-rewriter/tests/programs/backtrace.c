// Backtraces out of blocked calls reach main through every site.
#define _GNU_SOURCE
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <unwind.h>

static volatile int reached, fired;
int main(void);
static int fds[2], sockets[2];
static char buffer[64];

static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *arg)
{
	(void)arg;
	if (_Unwind_FindEnclosingFunction((void *)(_Unwind_GetIP(context) - 1)) == (void *)main)
		reached = 1;
	return _URC_NO_REASON;
}

static void handler(int n)
{
	void *frames[64];
	(void)n;
	fired++;
	int count = backtrace(frames, 64);
	_Unwind_Backtrace(frame, NULL);
	if (count < 4)
		reached = 0;
}

static void again(int on)
{
	// Repeated, in case the first signal comes before the call that it is to interrupt.
	struct itimerval t = { { 0, on * 20000 }, { 0, on * 20000 } };
	if (on)
		reached = fired = 0;
	setitimer(ITIMER_REAL, &t, NULL);
}

#define TRY(what) \
	do { \
		again(1); \
		what; \
		again(0); \
		printf("%s: fired %d reached %d\n", #what, fired > 0, reached); \
	} while (0)

__attribute__((noinline)) static long raw(long n, long a, long b, long c)
{
	long result;
	asm volatile("syscall" : "=a"(result) : "0"(n), "D"(a), "S"(b), "d"(c)
		     : "rcx", "r11", "memory");
	return result;
}

int main(void)
{
	struct pollfd p;
	struct epoll_event e;
	struct timespec t = { 100, 0 };
	struct sigaction action = { .sa_handler = handler };

	backtrace((void *[1]){ 0 }, 1);
	sigaction(SIGALRM, &action, NULL);
	pipe(fds);
	socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
	int epoll = epoll_create1(0);
	p.fd = fds[0], p.events = POLLIN;
	fd_set set;
	FD_ZERO(&set);
	FD_SET(fds[0], &set);
	struct iovec v = { buffer, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	struct mmsghdr mm = { .msg_hdr = m };
	sigset_t none;
	sigemptyset(&none);

	TRY(read(fds[0], buffer, 1));
	TRY(readv(fds[0], &v, 1));
	TRY(poll(&p, 1, -1));
	TRY(ppoll(&p, 1, NULL, &none));
	TRY(select(fds[0] + 1, &set, NULL, NULL, NULL));
	TRY(pselect(fds[0] + 1, &set, NULL, NULL, NULL, &none));
	TRY(epoll_wait(epoll, &e, 1, -1));
	TRY(epoll_pwait(epoll, &e, 1, -1, &none));
	TRY(recv(sockets[0], buffer, 1, 0));
	TRY(recvfrom(sockets[0], buffer, 1, 0, NULL, NULL));
	TRY(recvmsg(sockets[0], &m, 0));
	TRY(recvmmsg(sockets[0], &mm, 1, 0, NULL));
	TRY(splice(fds[0], NULL, sockets[1], NULL, 10, 0));
	TRY(pause());
	TRY(sigsuspend(&none));
	TRY(nanosleep(&t, NULL));
	TRY(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL));
	TRY(syscall(0, fds[0], buffer, 1));
	TRY(raw(0, fds[0], (long)buffer, 1));
	printf("ok\n");
	return 0;
}
