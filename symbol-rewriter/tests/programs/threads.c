// Threads, thread-local storage, and every kind of lock that sleeps in a futex.
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>
#include <sched.h>

static __thread int mine;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, pi, robust;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_spinlock_t spin;
static sem_t sem;
static long counter, pi_counter, turn;

static void *work(void *arg)
{
	long id = (long)arg;
	mine = id;
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
		pthread_mutex_lock(&pi);
		pi_counter++;
		pthread_mutex_unlock(&pi);
		if (i % 3) {
			pthread_rwlock_rdlock(&rwlock);
		} else {
			pthread_rwlock_wrlock(&rwlock);
		}
		pthread_rwlock_unlock(&rwlock);
		if (i % 100 == 0)
			sched_yield();
		sem_wait(&sem);
		sem_post(&sem);
	}
	pthread_mutex_lock(&mutex);
	while (turn != id)
		pthread_cond_wait(&cond, &mutex);
	turn++;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
	pthread_barrier_wait(&barrier);
	return mine == id ? (void *)(id + 1) : NULL;
}

static void *die_locked(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&robust);
	return NULL;
}

static int c11(void *arg) { return *(int *)arg + 1; }

static void *detached(void *arg)
{
	sem_post(arg);
	return NULL;
}

int main(void)
{
	enum { N = 8 };
	pthread_t threads[N];
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&pi, &attr);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attr);
	pthread_barrier_init(&barrier, NULL, N);
	pthread_spin_init(&spin, 0);
	sem_init(&sem, 0, 2);
	for (long i = 0; i < N; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)i))
			abort();
	for (long i = 0; i < N; i++) {
		void *result;
		pthread_join(threads[i], &result);
		printf("thread %ld gave %ld\n", i, (long)result);
	}
	printf("%ld %ld %ld\n", counter, pi_counter, turn);

	pthread_t dying;
	pthread_create(&dying, NULL, die_locked, NULL);
	pthread_join(dying, NULL);
	printf("robust lock: %d\n", pthread_mutex_lock(&robust));
	pthread_mutex_consistent(&robust);
	pthread_mutex_unlock(&robust);

	struct timespec soon;
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 20000000;
	if (soon.tv_nsec >= 1000000000)
		soon.tv_sec++, soon.tv_nsec -= 1000000000;
	pthread_mutex_lock(&mutex);
	printf("timed wait: %d\n", pthread_cond_timedwait(&cond, &mutex, &soon));
	sem_t never;
	sem_init(&never, 0, 0);
	printf("timed sem: %d\n", sem_timedwait(&never, &soon));
	printf("trylock: %d\n", pthread_mutex_trylock(&mutex));
	pthread_mutex_unlock(&mutex);
	pthread_rwlock_wrlock(&rwlock);
	printf("rdlock: %d\n", pthread_rwlock_timedrdlock(&rwlock, &soon));
	pthread_rwlock_unlock(&rwlock);

	thrd_t thread;
	int in = 41, out;
	thrd_create(&thread, c11, &in);
	thrd_join(thread, &out);
	printf("c11: %d\n", out);

	pthread_attr_t detach;
	pthread_attr_init(&detach);
	pthread_attr_setdetachstate(&detach, PTHREAD_CREATE_DETACHED);
	for (int i = 0; i < 200; i++) {
		pthread_t t;
		sem_t done;
		sem_init(&done, 0, 0);
		if (pthread_create(&t, &detach, detached, &done))
			abort();
		sem_wait(&done);
	}
	cpu_set_t set;
	printf("affinity: %d\n", pthread_getaffinity_np(pthread_self(), sizeof set, &set));
	pthread_setname_np(pthread_self(), "renamed");
	char name[32];
	pthread_getname_np(pthread_self(), name, sizeof name);
	printf("name: %s\n", name);
	struct sched_param param;
	int policy;
	printf("sched: %d\n", pthread_getschedparam(pthread_self(), &policy, &param));
	printf("ok\n");
	return 0;
}
