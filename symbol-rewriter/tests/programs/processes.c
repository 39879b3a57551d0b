// fork, vfork, posix_spawn, clone on a stack of its own, exec, wait, pipes.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static int shared = 1;

static int child(void *arg)
{
	shared = *(int *)arg;
	return 7;
}

static void report(const char *what, pid_t pid, int extra)
{
	int status = 0;
	pid_t got = waitpid(pid, &status, extra);
	printf("%s: %d status %x\n", what, got == pid && pid > 0, status);
}

__attribute__((noinline)) static pid_t spawn_vfork(const char *path)
{
	char *args[] = { (char *)path, NULL };
	pid_t pid = vfork();
	if (pid == 0) {
		execve(path, args, environ);
		_exit(3);
	}
	return pid;
}

static void atfork(void) { shared++; }

int main(void)
{
	int value = 5;
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		value = 6;
		_exit(value);
	}
	report("fork", pid, 0);
	report("vfork", spawn_vfork("/bin/true"), 0);
	report("vfork, no such file", spawn_vfork("/nonexistent"), 0);
	char *args[] = { "sh", "-c", "exit 9", NULL };
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	printf("spawn: %d\n", posix_spawn(&pid, "/bin/sh", &actions, NULL, args, environ));
	report("posix_spawn", pid, 0);
	printf("spawn: %d\n", posix_spawnp(&pid, "no-such-program", NULL, NULL, args, environ));
	printf("system: %x\n", system("exit 4"));
	FILE *pipe = popen("echo through a pipe", "r");
	char line[100];
	printf("popen: %s", fgets(line, sizeof line, pipe));
	printf("pclose: %d\n", pclose(pipe));

	size_t size = 65536;
	char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	int n = 11;
	pid = clone(child, stack + size, SIGCHLD, &n);
	report("clone", pid, 0);
	printf("shared %d\n", shared);
	pid = clone(child, stack + size, CLONE_VM | SIGCHLD, &n);
	report("clone, shared memory", pid, 0);
	printf("shared %d\n", shared);
	pid = clone(child, stack + size, CLONE_VM | CLONE_VFORK | SIGCHLD, &n);
	report("clone, vfork", pid, 0);

	// Through the function syscall(), whose number is unknown.
	pid = syscall(SYS_fork);
	if (!pid)
		syscall(SYS_exit_group, 12);
	report("syscall(SYS_fork)", pid, 0);
	struct clone_args c = { .exit_signal = SIGCHLD };
	pid = syscall(SYS_clone3, &c, sizeof c);
	if (!pid)
		_exit(13);
	report("syscall(SYS_clone3)", pid, 0);
	pthread_atfork(NULL, atfork, NULL);
	pid = fork();
	if (!pid)
		_exit(0);
	report("fork with handlers", pid, 0);
	printf("shared %d\n", shared);
	for (int i = 0; i < 100; i++) {
		fflush(stdout);
		pid = fork();
		if (!pid)
			exit(0);
		waitpid(pid, NULL, 0);
	}
	pid = fork();
	if (!pid)
		raise(SIGKILL);
	report("killed", pid, 0);
	pid = fork();
	if (!pid)
		abort();
	int status;
	waitpid(pid, &status, 0);
	printf("abort: %d\n", WTERMSIG(status));
	errno = 0;
	printf("no child: %d %d\n", wait(NULL), errno == ECHILD);
	printf("ok\n");
	return 0;
}
