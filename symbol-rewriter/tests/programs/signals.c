// Handlers, restarts, alternate stacks, queued signals, timers.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t count, nested, value, on_stack;
static sigjmp_buf jump;
static char stack[65536];
static int fds[2];

static void simple(int n) { (void)n; count++; }
static void nest(int n)
{
	(void)n;
	if (nested++ < 5)
		raise(SIGUSR1);
}
static void info(int n, siginfo_t *i, void *u)
{
	(void)n, (void)u;
	char here;
	value = i->si_value.sival_int;
	on_stack = &here >= stack && &here < stack + sizeof stack;
}
static void escape(int n) { siglongjmp(jump, n); }
static void feed(int n)
{
	(void)n;
	count++;
	write(fds[1], "x", 1);
}
static void on_timer(union sigval v) { value = v.sival_int; }

static void set(int n, void (*handler)(int), int flags)
{
	struct sigaction a = { .sa_handler = handler, .sa_flags = flags };
	sigaction(n, &a, NULL);
}

int main(void)
{
	// Repeated, in case the first signal comes before the call that it is to interrupt.
	struct itimerval t = { { 0, 20000 }, { 0, 20000 } }, off = { 0 };
	char c;
	pipe(fds);
	set(SIGALRM, simple, 0);
	setitimer(ITIMER_REAL, &t, NULL);
	errno = 0;
	printf("interrupted: %zd %d\n", read(fds[0], &c, 1), errno == EINTR);
	set(SIGALRM, feed, SA_RESTART);
	setitimer(ITIMER_REAL, &t, NULL);
	printf("restarted: %zd\n", read(fds[0], &c, 1));
	struct timespec ts = { 30, 0 }, rest = { 0 };
	setitimer(ITIMER_REAL, &t, NULL);
	printf("nanosleep: %d", nanosleep(&ts, &rest));
	printf(" rest %d\n", rest.tv_nsec > 0);
	setitimer(ITIMER_REAL, &off, NULL);
	set(SIGUSR1, nest, SA_NODEFER);
	raise(SIGUSR1);
	printf("nested %d\n", nested);

	stack_t alt = { .ss_sp = stack, .ss_size = sizeof stack };
	sigaltstack(&alt, NULL);
	struct sigaction a = { .sa_sigaction = info, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	sigaction(SIGUSR2, &a, NULL);
	sigqueue(getpid(), SIGUSR2, (union sigval){ .sival_int = 77 });
	printf("queued %d on its stack %d\n", value, on_stack);

	set(SIGSEGV, escape, SA_NODEFER | SA_ONSTACK);
	set(SIGFPE, escape, SA_NODEFER);
	set(SIGILL, escape, SA_NODEFER);
	int n = sigsetjmp(jump, 1);
	if (!n)
		*(volatile int *)8 = 1;
	printf("escaped %d\n", n);
	n = sigsetjmp(jump, 1);
	if (!n) {
		volatile int zero = 0;
		printf("%d\n", 1 / zero);
	}
	printf("escaped %d\n", n);
	n = sigsetjmp(jump, 1);
	if (!n)
		__builtin_trap();
	printf("escaped %d\n", n);

	sigset_t s, old;
	sigemptyset(&s);
	sigaddset(&s, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &s, &old);
	int fd = signalfd(-1, &s, SFD_NONBLOCK | SFD_CLOEXEC);
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 3 });
	struct signalfd_siginfo si;
	printf("signalfd %d", read(fd, &si, sizeof si) == sizeof si);
	printf(" %d\n", si.ssi_int);
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 4 });
	siginfo_t got;
	printf("sigwaitinfo %d", sigwaitinfo(&s, &got) == SIGRTMIN);
	printf(" %d\n", got.si_value.sival_int);
	raise(SIGRTMIN);
	sigset_t pending;
	sigpending(&pending);
	printf("pending %d\n", sigismember(&pending, SIGRTMIN));
	sigwaitinfo(&s, &got);

	timer_t timer;
	struct sigevent event = { .sigev_notify = SIGEV_THREAD,
				  .sigev_notify_function = on_timer,
				  .sigev_value.sival_int = 99 };
	struct itimerspec when = { .it_value = { 0, 2000000 } };
	printf("timer %d", timer_create(CLOCK_MONOTONIC, &event, &timer));
	printf(" %d\n", timer_settime(timer, 0, &when, NULL));
	for (int i = 0; i < 2000 && value != 99; i++)
		usleep(1000);
	printf("fired %d\n", value);
	timer_delete(timer);

	// Many signals during calls that return at once.
	set(SIGALRM, simple, SA_RESTART);
	struct itimerval storm = { { 0, 200 }, { 0, 200 } };
	setitimer(ITIMER_REAL, &storm, NULL);
	count = 0;
	long bad = 0;
	while (count < 200)
		bad += getppid() < 0 || lseek(fds[0], 0, SEEK_CUR) != -1;
	memset(&storm, 0, sizeof storm);
	setitimer(ITIMER_REAL, &storm, NULL);
	printf("bad %ld\n", bad);
	printf("ok\n");
	return 0;
}
