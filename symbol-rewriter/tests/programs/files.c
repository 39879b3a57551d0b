// Files, memory, time and limits: every call whose result does not depend on the machine.
#define _GNU_SOURCE
#include <aio.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <ifaddrs.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <mqueue.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#define SHOW(what) printf("%s = %ld\n", #what, (long)(what))
#define HOLDS(what) printf("%s: %d\n", #what, !!(what))

static int visited;
static int visit(const char *p, const struct stat *s, int f, struct FTW *w)
{
	(void)p, (void)s, (void)f, (void)w;
	visited++;
	return 0;
}

int main(void)
{
	char dir[] = "/tmp/files.XXXXXX", text[200];
	struct stat st;
	HOLDS(mkdtemp(dir));
	HOLDS(chdir(dir) == 0);
	int fd = open("a", O_RDWR | O_CREAT | O_TRUNC, 0644);
	HOLDS(fd >= 0);
	SHOW(write(fd, "hello, world", 12));
	SHOW(pwrite(fd, "J", 1, 0));
	SHOW(pread(fd, text, 5, 0));
	printf("%.5s\n", text);
	SHOW(lseek(fd, 0, SEEK_END));
	struct iovec v[2] = { { "ab", 2 }, { "cd", 2 } };
	SHOW(writev(fd, v, 2));
	SHOW(pwritev(fd, v, 2, 100));
	SHOW(preadv(fd, v + 1, 0, 0));
	SHOW(fstat(fd, &st));
	SHOW(st.st_size);
	SHOW(ftruncate(fd, 50));
	SHOW(posix_fallocate(fd, 0, 4096));
	SHOW(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 8192));
	SHOW(fsync(fd));
	SHOW(fdatasync(fd));
	SHOW(syncfs(fd));
	SHOW(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM));
	SHOW(flock(fd, LOCK_EX));
	SHOW(lockf(fd, F_TLOCK, 10));
	SHOW(fcntl(fd, F_GETFD));
	HOLDS(dup2(fd, 50) == 50);
	HOLDS(dup3(fd, 51, O_CLOEXEC) == 51);
	SHOW(close(50));
	SHOW(rename("a", "b"));
	SHOW(link("b", "c"));
	SHOW(symlink("b", "d"));
	SHOW(readlink("d", text, sizeof text));
	SHOW(access("d", R_OK));
	SHOW(faccessat(AT_FDCWD, "nope", R_OK, AT_EACCESS));
	SHOW(chmod("b", 0600));
	SHOW(fchmodat(AT_FDCWD, "b", 0640, 0));
	SHOW(chown("b", -1, -1));
	SHOW(lstat("d", &st));
	HOLDS(S_ISLNK(st.st_mode));
	struct statx sx;
	SHOW(statx(AT_FDCWD, "b", 0, STATX_SIZE, &sx));
	SHOW(utime("b", NULL));
	SHOW(utimes("b", NULL));
	SHOW(utimensat(AT_FDCWD, "b", NULL, 0));
	SHOW(futimens(fd, NULL));
	SHOW(mkdir("sub", 0700));
	SHOW(nftw(".", visit, 8, FTW_PHYS));
	SHOW(visited);
	DIR *d = opendir(".");
	int n = 0;
	while (readdir(d))
		n++;
	SHOW(n);
	closedir(d);
	glob_t g;
	SHOW(glob("[a-z]", 0, NULL, &g));
	SHOW(g.gl_pathc);
	globfree(&g);
	int out = open("out", O_RDWR | O_CREAT, 0600);
	lseek(fd, 0, SEEK_SET);
	SHOW(sendfile(out, fd, NULL, 100));
	SHOW(copy_file_range(fd, NULL, out, NULL, 100, 0));
	int fds[2], fds2[2];
	SHOW(pipe2(fds, O_CLOEXEC));
	SHOW(pipe(fds2));
	off64_t zero = 0;
	SHOW(splice(fd, &zero, fds[1], NULL, 10, 0));
	SHOW(tee(fds[0], fds2[1], 10, 0));
	SHOW(vmsplice(fds2[1], v, 1, 0));
	SHOW(unlink("c"));
	SHOW(rmdir("sub"));
	SHOW(creat("e", 0600) >= 0);
	SHOW(truncate("e", 10));
	SHOW(umask(022) >= 0);
	SHOW(mkfifo("f", 0600));
	HOLDS(getcwd(text, sizeof text));
	SHOW(setxattr("b", "user.x", "v", 1, 0) <= 0);
	struct statvfs vfs;
	SHOW(statvfs(".", &vfs));
	int notify = inotify_init1(IN_NONBLOCK);
	HOLDS(inotify_add_watch(notify, ".", IN_CREATE) > 0);
	int event = eventfd(3, 0);
	eventfd_t e;
	SHOW(eventfd_read(event, &e));
	SHOW(e);
	int timer = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec its = { .it_value = { 0, 1000 } };
	SHOW(timerfd_settime(timer, 0, &its, NULL));
	unsigned long ticks;
	SHOW(read(timer, &ticks, 8));

	char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	HOLDS(m != MAP_FAILED);
	strcpy(m, "mapped");
	m = mremap(m, 8192, 65536, MREMAP_MAYMOVE);
	printf("%s\n", m);
	SHOW(mprotect(m, 4096, PROT_READ));
	SHOW(msync(m, 4096, MS_ASYNC));
	SHOW(madvise(m, 4096, MADV_WILLNEED));
	SHOW(mlock(m, 4096));
	SHOW(munlock(m, 4096));
	unsigned char vec[16];
	SHOW(mincore(m, 4096, vec));
	SHOW(munmap(m, 65536));
	HOLDS(sbrk(4096) != (void *)-1);
	char *big[100];
	for (int i = 0; i < 100; i++)
		memset(big[i] = malloc(i * 5000 + 1), i, i * 5000 + 1);
	for (int i = 0; i < 100; i++)
		free(big[i]);
	int shm = shm_open("/symbol-rewriter-test", O_RDWR | O_CREAT, 0600);
	HOLDS(shm >= 0);
	SHOW(shm_unlink("/symbol-rewriter-test"));
	int id = shmget(IPC_PRIVATE, 4096, 0600);
	HOLDS(id >= 0);
	char *at = shmat(id, NULL, 0);
	HOLDS(at != (void *)-1);
	SHOW(shmdt(at));
	SHOW(shmctl(id, IPC_RMID, NULL));
	id = semget(IPC_PRIVATE, 1, 0600);
	struct sembuf op = { 0, 1, 0 };
	SHOW(semop(id, &op, 1));
	SHOW(semtimedop(id, &op, 1, NULL));
	SHOW(semctl(id, 0, GETVAL));
	SHOW(semctl(id, 0, IPC_RMID));
	id = msgget(IPC_PRIVATE, 0600);
	struct { long type; char text[8]; } msg = { 1, "message" };
	SHOW(msgsnd(id, &msg, 8, 0));
	SHOW(msgrcv(id, &msg, 8, 0, 0));
	SHOW(msgctl(id, IPC_RMID, NULL));
	int mfd = memfd_create("x", 0);
	HOLDS(mfd >= 0);

	struct aiocb cb = { .aio_fildes = fd, .aio_buf = text, .aio_nbytes = 5 };
	SHOW(aio_read(&cb));
	const struct aiocb *list[] = { &cb };
	SHOW(aio_suspend(list, 1, NULL));
	SHOW(aio_error(&cb));
	SHOW(aio_return(&cb));
	struct mq_attr ma = { .mq_maxmsg = 2, .mq_msgsize = 16 };
	mqd_t mq = mq_open("/symbol-rewriter-test", O_RDWR | O_CREAT, 0600, &ma);
	if (mq != (mqd_t)-1) {
		mq_send(mq, "hi", 2, 1);
		mq_receive(mq, text, 16, NULL);
		mq_close(mq);
		mq_unlink("/symbol-rewriter-test");
	}

	struct timeval tv;
	struct timespec ts;
	HOLDS(gettimeofday(&tv, NULL) == 0);
	HOLDS(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	HOLDS(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) == 0);
	HOLDS(clock_getres(CLOCK_REALTIME, &ts) == 0);
	HOLDS(time(NULL) > 0);
	HOLDS(clock() >= 0);
	struct tms tms;
	HOLDS(times(&tms) != -1);
	clockid_t clk;
	SHOW(clock_getcpuclockid(getpid(), &clk));
	SHOW(clock_getcpuclockid(0x3fffffff, &clk));
	struct rlimit rl;
	SHOW(getrlimit(RLIMIT_NOFILE, &rl));
	SHOW(setrlimit(RLIMIT_NOFILE, &rl));
	struct rusage ru;
	SHOW(getrusage(RUSAGE_SELF, &ru));
	struct utsname un;
	SHOW(uname(&un));
	struct sysinfo si;
	SHOW(sysinfo(&si));
	HOLDS(sysconf(_SC_NPROCESSORS_ONLN) > 0);
	HOLDS(getrandom(text, 16, 0) == 16);
	HOLDS(getentropy(text, 16) == 0);
	HOLDS(arc4random() || 1);
	SHOW(prctl(PR_SET_NAME, "x", 0, 0, 0));
	SHOW(getpriority(PRIO_PROCESS, 0));
	SHOW(nice(0));
	cpu_set_t cpus;
	SHOW(sched_getaffinity(0, sizeof cpus, &cpus));
	SHOW(sched_setaffinity(0, sizeof cpus, &cpus));
	SHOW(sched_get_priority_max(SCHED_FIFO));
	HOLDS(getpid() == syscall(SYS_getpid));
	HOLDS(getppid() > 0);
	HOLDS(gettid() == getpid());
	HOLDS(getpgrp() >= 0);
	HOLDS(getsid(0) >= 0);
	gid_t groups[64];
	HOLDS(getgroups(64, groups) >= 0);
	HOLDS(geteuid() == getuid());
	struct termios tio;
	HOLDS(tcgetattr(fd, &tio) == -1 && errno == ENOTTY);
	HOLDS(tcsetattr(fd, TCSANOW, &tio) == -1);
	HOLDS(!isatty(fd));
	struct ifaddrs *ifs;
	SHOW(getifaddrs(&ifs));
	freeifaddrs(ifs);
	char host[100];
	SHOW(gethostname(host, sizeof host));
	fd_set set;
	FD_ZERO(&set);
	tv = (struct timeval){ 0, 1000 };
	SHOW(select(0, NULL, NULL, NULL, &tv));
	FILE *f = fopen("stream", "w+");
	fprintf(f, "%d %s %.3f\n", 42, "text", sqrt(2) + sin(1) * exp(1.5));
	rewind(f);
	int i;
	float x;
	SHOW(fscanf(f, "%d %s %f", &i, text, &x));
	printf("%d %s %.2f\n", i, text, x);
	fclose(f);
	f = tmpfile();
	HOLDS(f);
	fclose(f);
	HOLDS(realpath(".", NULL));
	errno = 0;
	HOLDS(close(12345) == -1 && errno == EBADF);
	errno = 0;
	HOLDS(read(12345, text, 1) == -1 && errno == EBADF);
	errno = 0;
	errno = 0;
	HOLDS(syscall(9999) == -1 && errno == ENOSYS);
	chdir("/");
	snprintf(text, sizeof text, "rm -rf %s", dir);
	SHOW(system(text));
	printf("ok\n");
	return 0;
}
