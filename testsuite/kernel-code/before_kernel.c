// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counts, inside the kernel, what a call spends in total, and how much of that its
 * protocol spends.  With QEMU's -icount shift=0 the time stamp counter counts
 * instructions, so the figures are exact and the same in every run.
 */
#include <linux/fs.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/syscalls.h>
#include <net/inet_common.h>
#include <net/tcp.h>
#include <net/udp.h>

int udp_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags, int *size);
int unix_stream_sendmsg(struct socket *sock, struct msghdr *msg, size_t len);
int unix_stream_recvmsg(struct socket *sock, struct msghdr *msg, size_t len, int flags);
__poll_t unix_poll(struct file *file, struct socket *sock, poll_table *wait);
ssize_t shmem_file_read_iter(struct kiocb *iocb, struct iov_iter *to);
ssize_t shmem_file_write_iter(struct kiocb *iocb, struct iov_iter *from);
long __ukl_shortcut_sendto(long fd, long buf, long len, long flags, long addr, long size);
long __ukl_shortcut_recvfrom(long fd, long buf, long len, long flags, long addr, long size);
long __ukl_shortcut_pread64(long fd, long buf, long len, long pos);
long __ukl_shortcut_pwrite64(long fd, long buf, long len, long pos);
long __ukl_shortcut_read(long fd, long buf, long len);
long __ukl_shortcut_write(long fd, long buf, long len);
long __ukl_shortcut_epoll_wait(long fd, long events, long max, long timeout);
ssize_t ksys_read(unsigned int fd, char __user *buf, size_t count);
ssize_t ksys_write(unsigned int fd, const char __user *buf, size_t count);
int do_epoll_wait(int epfd, struct epoll_event __user *events, int max, struct timespec64 *to);

enum kind { UNIX, TCP, UDP };
enum what { SEND, RECEIVE, WAIT, FILE_PREAD, FILE_READ, FILE_PWRITE, FILE_WRITE };

static int raw(enum kind kind, enum what what, struct file *file, void __user *buf)
{
	struct socket *sock = file->private_data;
	struct msghdr msg = {};
	poll_table table = { ._key = EPOLLIN };
	struct kiocb kiocb;
	int size;

	switch (what) {
	case WAIT:
		return !!(kind == UNIX ? unix_poll(file, sock, &table) :
			  kind == TCP ? tcp_poll(file, sock, &table) : udp_poll(file, sock, &table));
	case FILE_PREAD:
	case FILE_READ:
		init_sync_kiocb(&kiocb, file);
		iov_iter_ubuf(&msg.msg_iter, ITER_DEST, buf, 1);
		return shmem_file_read_iter(&kiocb, &msg.msg_iter);
	case FILE_PWRITE:
	case FILE_WRITE:
		init_sync_kiocb(&kiocb, file);
		iov_iter_ubuf(&msg.msg_iter, ITER_SOURCE, buf, 1);
		return shmem_file_write_iter(&kiocb, &msg.msg_iter);
	case SEND:
		iov_iter_ubuf(&msg.msg_iter, ITER_SOURCE, buf, 1);
		return kind == UNIX ? unix_stream_sendmsg(sock, &msg, 1) :
		       kind == TCP ? tcp_sendmsg(sock->sk, &msg, 1) : udp_sendmsg(sock->sk, &msg, 1);
	default:
		iov_iter_ubuf(&msg.msg_iter, ITER_DEST, buf, 1);
		return kind == UNIX ? unix_stream_recvmsg(sock, &msg, 1, 0) :
		       kind == TCP ? tcp_recvmsg(sock->sk, &msg, 1, 0, &size) :
				     udp_recvmsg(sock->sk, &msg, 1, 0, &size);
	}
}

static int whole(enum what what, int fd, void __user *buf, bool shortcut)
{
	switch (what) {
	case SEND:
		return shortcut ? __ukl_shortcut_sendto(fd, (long)buf, 1, 0, 0, 0) :
				  __sys_sendto(fd, buf, 1, 0, NULL, 0);
	case RECEIVE:
		return shortcut ? __ukl_shortcut_recvfrom(fd, (long)buf, 1, 0, 0, 0) :
				  __sys_recvfrom(fd, buf, 1, 0, NULL, NULL);
	case WAIT:
		return shortcut ? __ukl_shortcut_epoll_wait(fd, (long)buf, 1, -1) :
				  do_epoll_wait(fd, buf, 1, NULL);
	case FILE_PREAD:
		return shortcut ? __ukl_shortcut_pread64(fd, (long)buf, 1, 0) :
				  ksys_pread64(fd, buf, 1, 0);
	case FILE_READ:
		return shortcut ? __ukl_shortcut_read(fd, (long)buf, 1) : ksys_read(fd, buf, 1);
	case FILE_PWRITE:
		return shortcut ? __ukl_shortcut_pwrite64(fd, (long)buf, 1, 0) :
				  ksys_pwrite64(fd, buf, 1, 0);
	default:
		return shortcut ? __ukl_shortcut_write(fd, (long)buf, 1) : ksys_write(fd, buf, 1);
	}
}

/* One call.  Way 0 is the protocol alone, 1 the kernel's function, 2 the shortcut. */
long count(int way, int kind, int what, int fd, int inner, void *buf);
long count(int way, int kind, int what, int fd, int inner, void *buf)
{
	/* A borrowed reference, as in a process whose descriptor table is not shared. */
	struct fd f = fdget(inner);
	struct file *file = fd_file(f);
	unsigned long start, time;
	int ret;

	start = rdtsc_ordered();
	ret = way ? whole(what, fd, (void __user *)buf, way == 2) :
		    raw(kind, what, file, (void __user *)buf);
	time = rdtsc_ordered() - start;
	/* Restore the position, so that each call finds the same state. */
	if (what == FILE_READ || what == FILE_WRITE)
		file->f_pos = 0;
	fdput(f);
	return ret == 1 ? time : -1;
}
