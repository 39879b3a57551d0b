// pthread_cancel in blocked calls: the unwinder passes the sites and runs the cleanup handlers.
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static int pipes[2], sockets[2], listener, epoll, queue;
static int full[2];
static sem_t ready, never;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int pushed, destroyed, locked;
static char buffer[1 << 20];

static void b_read(void) { read(pipes[0], buffer, 1); }
static void b_readv(void)
{
	struct iovec v = { buffer, 1 };
	readv(pipes[0], &v, 1);
}
static void b_write(void) { for (;;) write(full[1], buffer, sizeof buffer); }
static void b_nanosleep(void)
{
	struct timespec t = { 100, 0 };
	nanosleep(&t, NULL);
}
static void b_clock(void)
{
	struct timespec t = { 100, 0 };
	clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}
static void b_sleep(void) { sleep(100); }
static void b_pause(void) { pause(); }
static void b_cond(void)
{
	pthread_mutex_lock(&mutex);
	pthread_cond_wait(&cond, &mutex);
}
static void b_timed(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += 100;
	pthread_mutex_lock(&mutex);
	pthread_cond_timedwait(&cond, &mutex, &t);
}
static void b_sem(void) { sem_wait(&never); }
static void b_semtimed(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += 100;
	sem_timedwait(&never, &t);
}
static void b_accept(void) { accept(listener, NULL, NULL); }
static void b_accept4(void) { accept4(listener, NULL, NULL, 0); }
static void b_recv(void) { recv(sockets[0], buffer, 1, 0); }
static void b_recvfrom(void)
{
	struct sockaddr_storage from;
	socklen_t size = sizeof from;
	recvfrom(sockets[0], buffer, 1, 0, (void *)&from, &size);
}
static void b_recvmsg(void)
{
	struct iovec v = { buffer, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	recvmsg(sockets[0], &m, 0);
}
static void b_recvmmsg(void)
{
	struct iovec v = { buffer, 1 };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } };
	recvmmsg(sockets[0], &m, 1, 0, NULL);
}
static void b_send(void) { for (;;) send(sockets[1], buffer, sizeof buffer, 0); }
static void b_poll(void)
{
	struct pollfd p = { .fd = pipes[0], .events = POLLIN };
	poll(&p, 1, -1);
}
static void b_ppoll(void)
{
	struct pollfd p = { .fd = pipes[0], .events = POLLIN };
	ppoll(&p, 1, NULL, NULL);
}
static void b_select(void)
{
	fd_set s;
	FD_ZERO(&s);
	FD_SET(pipes[0], &s);
	select(pipes[0] + 1, &s, NULL, NULL, NULL);
}
static void b_pselect(void)
{
	fd_set s;
	sigset_t none;
	sigemptyset(&none);
	FD_ZERO(&s);
	FD_SET(pipes[0], &s);
	pselect(pipes[0] + 1, &s, NULL, NULL, NULL, &none);
}
static void b_epoll(void)
{
	struct epoll_event e;
	epoll_wait(epoll, &e, 1, -1);
}
static void b_epoll_p(void)
{
	struct epoll_event e;
	sigset_t none;
	sigemptyset(&none);
	epoll_pwait(epoll, &e, 1, -1, &none);
}
static void b_sigwait(void)
{
	sigset_t s;
	int n;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	sigwait(&s, &n);
}
static void b_sigtimed(void)
{
	sigset_t s;
	struct timespec t = { 100, 0 };
	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	sigtimedwait(&s, NULL, &t);
}
static void b_sigsuspend(void)
{
	sigset_t s;
	sigemptyset(&s);
	sigsuspend(&s);
}
static void b_msgrcv(void)
{
	struct { long type; char text[8]; } m;
	msgrcv(queue, &m, 8, 0, 0);
}
static void b_splice(void) { splice(pipes[0], NULL, full[1], NULL, 100, 0); }
static void b_join(void)
{
	pthread_join(*(pthread_t *)buffer, NULL);
}
static void b_fifo(void) { open("fifo", O_RDONLY); }
static void b_lockf(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open("locked", O_RDWR);
	fcntl(fd, F_SETLKW, &l);
}
static void b_waitpid(void) { waitpid(*(pid_t *)(buffer + 64), NULL, 0); }
static void b_waitid(void)
{
	siginfo_t i;
	waitid(P_PID, *(pid_t *)(buffer + 64), &i, WEXITED | WNOWAIT);
}
static void b_async(void)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (;;)
		getppid();
}

static const struct { const char *name; void (*block)(void); } cases[] = {
	{ "read", b_read }, { "readv", b_readv }, { "write", b_write },
	{ "nanosleep", b_nanosleep }, { "clock_nanosleep", b_clock }, { "sleep", b_sleep },
	{ "pause", b_pause }, { "cond_wait", b_cond }, { "cond_timedwait", b_timed },
	{ "sem_wait", b_sem }, { "sem_timedwait", b_semtimed }, { "accept", b_accept },
	{ "accept4", b_accept4 }, { "recv", b_recv }, { "recvfrom", b_recvfrom },
	{ "recvmsg", b_recvmsg }, { "recvmmsg", b_recvmmsg }, { "send", b_send },
	{ "poll", b_poll }, { "ppoll", b_ppoll }, { "select", b_select },
	{ "pselect", b_pselect }, { "epoll_wait", b_epoll }, { "epoll_pwait", b_epoll_p },
	{ "sigwait", b_sigwait }, { "sigtimedwait", b_sigtimed },
	{ "sigsuspend", b_sigsuspend }, { "msgrcv", b_msgrcv },
#ifdef __GLIBC__
	{ "splice", b_splice },
#endif
	{ "join", b_join }, { "open", b_fifo }, { "fcntl", b_lockf },
	{ "waitpid", b_waitpid }, { "waitid", b_waitid }, { "asynchronous", b_async },
};

static void handler(void *arg) { ++*(int *)arg; }
static void destroy(int *which) { ++*which; }

static __attribute__((noinline)) void deeper(void (*block)(void))
{
	// Run by the unwinder, through the landing pad that -fexceptions makes.
	__attribute__((cleanup(destroy))) int dummy = 0;
	int *volatile count = &destroyed;
	(void)dummy;
	++*count;
	block();
	--*count;
}

static void unlock(void *arg)
{
	(void)arg;
	// cond_wait must have taken the lock again before it was left.
	if (pthread_mutex_trylock(&mutex) == EBUSY)
		locked++;
	pthread_mutex_unlock(&mutex);
}

static void *work(void *arg)
{
	long i = (long)arg;
	int is_cond = !strncmp(cases[i].name, "cond", 4);
	pthread_cleanup_push(handler, &pushed);
	if (is_cond) {
		pthread_cleanup_push(unlock, NULL);
		sem_post(&ready);
		deeper(cases[i].block);
		pthread_cleanup_pop(0);
	} else {
		sem_post(&ready);
		deeper(cases[i].block);
	}
	pthread_cleanup_pop(0);
	return NULL;
}

static void *sleeper(void *arg)
{
	for (;;)
		pause();
	return arg;
}

int main(void)
{
	char dir[] = "/tmp/cancel.XXXXXX";
	if (!mkdtemp(dir) || chdir(dir))
		abort();
	pipe(pipes);
	pipe(full);
	socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "socket" };
	bind(listener, (void *)&name, sizeof name);
	listen(listener, 1);
	epoll = epoll_create1(0);
	queue = msgget(IPC_PRIVATE, 0600);
	sem_init(&ready, 0, 0);
	sem_init(&never, 0, 0);
	mkfifo("fifo", 0600);
	sigset_t usr2;
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &usr2, NULL);
	pthread_t other;
	pthread_create(&other, NULL, sleeper, NULL);
	*(pthread_t *)buffer = other;
	int fd = open("locked", O_RDWR | O_CREAT, 0600);
	int held[2];
	pipe(held);
	pid_t child = fork();
	if (!child) {
		struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
		fcntl(fd, F_SETLK, &l);
		write(held[1], "", 1);
		for (;;)
			pause();
	}
	read(held[0], buffer + 100, 1);
	*(pid_t *)(buffer + 64) = child;

	for (long i = 0; i < (long)(sizeof cases / sizeof *cases); i++) {
		pthread_t thread;
		void *result;
		if (!strcmp(cases[i].name, "splice"))
			fcntl(full[1], F_SETFL, 0);
		int had_pushed = pushed, had_locked = locked;
		destroyed = 0;
		pthread_create(&thread, NULL, work, (void *)i);
		sem_wait(&ready);
		usleep(10000);
		pthread_cancel(thread);
		pthread_join(thread, &result);
		printf("%s: cancelled %d pushed %d destroyed %d locked %d\n", cases[i].name,
		       result == PTHREAD_CANCELED, pushed - had_pushed, destroyed,
		       locked - had_locked);
	}
	pthread_cancel(other);
	pthread_join(other, NULL);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	msgctl(queue, IPC_RMID, NULL);
	unlink("socket"), unlink("fifo"), unlink("locked");
	chdir("/");
	rmdir(dir);
	printf("ok\n");
	return 0;
}
