// longjmp, makecontext and swapcontext, and changing the identity of all threads at once.
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>
#include <unistd.h>
#include <sys/fsuid.h>
#include <grp.h>

static ucontext_t mine, other;
static char stack[65536];
static int steps;
static jmp_buf buffer;
static sem_t stop;

static void coroutine(int a, int b)
{
	for (int i = 0; i < 100; i++) {
		steps += a * b;
		getppid();
		swapcontext(&other, &mine);
	}
}

static void *wait_for_it(void *arg)
{
	sem_wait(&stop);
	return arg;
}

__attribute__((noinline)) static void jump(int n)
{
	getppid();
	longjmp(buffer, n);
}

int main(void)
{
	getcontext(&other);
	other.uc_stack.ss_sp = stack;
	other.uc_stack.ss_size = sizeof stack;
	other.uc_link = &mine;
	makecontext(&other, (void (*)(void))coroutine, 2, 2, 3);
	for (int i = 0; i < 101; i++)
		swapcontext(&mine, &other);
	printf("steps %d\n", steps);

	volatile int rounds = 0;
	int n = setjmp(buffer);
	if (rounds++ < 5)
		jump(rounds);
	printf("jumps %d\n", n);

	pthread_t threads[4];
	sem_init(&stop, 0, 0);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, wait_for_it, NULL);
	printf("setgid %d\n", setgid(getgid()));
	printf("setuid %d\n", setuid(getuid()));
	printf("setresuid %d\n", setresuid(-1, -1, -1));
	printf("setresgid %d\n", setresgid(-1, -1, -1));
	printf("setreuid %d\n", setreuid(-1, -1));
	for (int i = 0; i < 4; i++)
		sem_post(&stop);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	printf("ok\n");
	return 0;
}
