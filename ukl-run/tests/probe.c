/* The program that the boot tests run in the guest. The first argument selects what it does. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(99);
}

static void put(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size) {
		ssize_t count = write(fd, at, size);
		if (count < 0)
			die("write");
		at += count;
		size -= count;
	}
}

static void on_term(int signal)
{
	put(1, "bye\n", 4);
	_exit(signal == SIGTERM ? 7 : 8);
}

/* Echoes what comes on a connection or in a datagram; ends after one. */
static void serve(int type, int port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, type, 0);
	char buffer[4096];

	if (bind(fd, (void *)&any, sizeof(any)))
		die("bind");
	if (type == SOCK_DGRAM) {
		struct sockaddr_in from;
		socklen_t length = sizeof(from);

		put(1, "ready\n", 6);
		ssize_t count = recvfrom(fd, buffer, sizeof(buffer), 0, (void *)&from, &length);
		sendto(fd, buffer, count, 0, (void *)&from, length);
		sleep(1);	/* the answer has to leave the machine */
		return;
	}
	if (listen(fd, 5))
		die("listen");
	put(1, "ready\n", 6);
	int peer = accept(fd, NULL, NULL);
	ssize_t count;
	while ((count = read(peer, buffer, sizeof(buffer))) > 0)
		put(peer, buffer, count);
	close(peer);
}

static void fetch(const char *address, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char buffer[4096];
	ssize_t count;

	inet_pton(AF_INET, address, &to.sin_addr);
	if (connect(fd, (void *)&to, sizeof(to)))
		die("connect");
	while ((count = read(fd, buffer, sizeof(buffer))) > 0)
		put(1, buffer, count);
}

static void cat(int from)
{
	static char buffer[1 << 16];
	ssize_t count;

	while ((count = read(from, buffer, sizeof(buffer))) > 0)
		put(1, buffer, count);
	if (count < 0)
		die("read");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	const char *arg = argc > 2 ? argv[2] : "";

	if (!strcmp(what, "args")) {
		for (int i = 0; i < argc; i++)
			printf("<%s>\n", argv[i]);
	} else if (!strcmp(what, "env")) {
		for (char **at = environ; *at; at++)
			puts(*at);
	} else if (!strcmp(what, "exit")) {
		return atoi(arg);
	} else if (!strcmp(what, "raise")) {
		raise(atoi(arg));
	} else if (!strcmp(what, "crash")) {
		*(volatile int *)8 = 0;
	} else if (!strcmp(what, "cat")) {
		cat(0);
	} else if (!strcmp(what, "read")) {
		for (int i = 2; i < argc; i++) {
			int fd = open(argv[i], O_RDONLY);
			if (fd < 0)
				die(argv[i]);
			cat(fd);
		}
	} else if (!strcmp(what, "write")) {
		int fd = open(arg, O_WRONLY | O_CREAT | O_APPEND, 0644);
		if (fd < 0)
			die(arg);
		put(fd, argv[3], strlen(argv[3]));
		if (fsync(fd))
			die("fsync");
		if (argc > 4)	/* what was synced has to be there all the same */
			put(open("/proc/sysrq-trigger", O_WRONLY), "c", 1);
	} else if (!strcmp(what, "big")) {
		size_t left = strtoul(arg, NULL, 0);
		static char block[1 << 16];

		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = i % 251;
		while (left) {
			size_t size = left < sizeof(block) ? left : sizeof(block);
			put(1, block, size);
			left -= size;
		}
	} else if (!strcmp(what, "both")) {
		for (int i = 0; i < 50; i++) {
			put(1, "out\n", 4);
			put(2, "err\n", 4);
		}
	} else if (!strcmp(what, "yes")) {
		for (;;)
			put(1, "y\n", 2);
	} else if (!strcmp(what, "spin")) {
		put(1, "ready\n", 6);
		for (;;)
			;
	} else if (!strcmp(what, "trap")) {
		signal(SIGTERM, on_term);
		signal(SIGINT, on_term);
		put(1, "ready\n", 6);
		for (;;)
			pause();
	} else if (!strcmp(what, "orphan")) {
		if (!fork()) {
			put(1, "child\n", 6);
			for (;;)
				pause();
		}
		sleep(1);
		return 3;
	} else if (!strcmp(what, "panic")) {
		/* Once it is dead a guest hands nothing out any more: wait to be heard. */
		char heard;
		put(1, "before\n", 7);
		if (read(0, &heard, 1) == 1)
			put(open("/proc/sysrq-trigger", O_WRONLY), "c", 1);
	} else if (!strcmp(what, "init")) {
		kill(1, SIGKILL);	/* has no effect on init */
		printf("%d %d %d\n", getppid(), getsid(0) == getpid(), getuid());
	} else if (!strcmp(what, "limits")) {
		struct rlimit limit;
		getrlimit(RLIMIT_NOFILE, &limit);
		printf("%s %lu\n", getcwd(NULL, 0), (unsigned long)limit.rlim_cur);
	} else if (!strcmp(what, "self")) {
		char path[256] = "";
		if (readlink("/proc/self/exe", path, sizeof(path) - 1) < 0)
			die("readlink");
		puts(path);
	} else if (!strcmp(what, "names")) {
		char name[256] = "";
		struct servent *http = getservbyname("http", "tcp");
		struct protoent *udp = getprotobyname("udp");
		struct addrinfo *found = NULL;

		gethostname(name, sizeof(name) - 1);
		printf("http %d\n", http ? ntohs(http->s_port) : -1);
		printf("udp %d\n", udp ? udp->p_proto : -1);
		printf("%s %d\n", name, getaddrinfo(name, NULL, NULL, &found));
	} else if (!strcmp(what, "tcp")) {
		serve(SOCK_STREAM, atoi(arg));
	} else if (!strcmp(what, "udp")) {
		serve(SOCK_DGRAM, atoi(arg));
	} else if (!strcmp(what, "fetch")) {
		fetch(arg, atoi(argv[3]));
	} else if (!strcmp(what, "tty")) {
		printf("%d%d%d\n", isatty(0), isatty(1), isatty(2));
		fflush(stdout);
		if (*arg)
			cat(0);
	} else if (!strcmp(what, "parent")) {
		char path[64], name[64] = "";
		snprintf(path, sizeof(path), "/proc/%d/comm", getppid());
		int fd = open(path, O_RDONLY);
		if (read(fd, name, sizeof(name) - 1) < 0)
			die(path);
		fputs(name, stdout);
	} else if (!strcmp(what, "run")) {	/* an ordinary command, for --wrap */
		int status;
		if (!fork()) {
			execv(argv[2], argv + 2);
			die(argv[2]);
		}
		wait(&status);
		return WEXITSTATUS(status);
	} else if (!strcmp(what, "say")) {
		printf("beside: %s\n", getenv("UKL_PROGRAM"));
		fflush(stdout);
		int fd = open("/tmp/said", O_WRONLY | O_CREAT, 0644);
		close(fd);
		pause();
	} else if (!strcmp(what, "wait")) {
		while (access(arg, F_OK))
			usleep(1000);
	} else if (!strcmp(what, "mmap")) {
		int fd = open(arg, O_RDONLY);
		char *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map == MAP_FAILED)
			die("mmap");
		fputs(map, stdout);
	} else {
		fprintf(stderr, "probe: %s?\n", what);
		return 98;
	}
	return 0;
}
