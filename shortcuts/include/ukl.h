/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Calls that a UKL program has beyond those of libc.  ukl-cc finds this header
 * without a flag.  On the build host, and at ring 3, each is the ordinary call.
 */
#ifndef UKL_H
#define UKL_H

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Deep shortcuts: the work of a system call with less around it.  They behave
 * as the functions of libc whose names they have, errors and signals included;
 * they are no points of cancellation.
 */
long __ukl_shortcut_sendto(long fd, const void *buf, long len, long flags, long addr, long size);
long __ukl_shortcut_recvfrom(long fd, void *buf, long len, long flags, long addr, long size);
long __ukl_shortcut_read(long fd, void *buf, long len);
long __ukl_shortcut_write(long fd, const void *buf, long len);
long __ukl_shortcut_pread64(long fd, void *buf, long len, long pos);
long __ukl_shortcut_epoll_wait(long fd, struct epoll_event *events, long max, long timeout);

/* A signal came: the system call, asked again, restarts or fails as it should. */
#define __ukl_interrupted(result) __builtin_expect((result) <= -512 && (result) >= -516, 0)

static inline long __ukl_result(long result)
{
	if (__builtin_expect((unsigned long)result <= -4096UL, 1))
		return result;
	errno = (int)-result;
	return -1;
}

static inline ssize_t ukl_send(int fd, const void *buf, size_t len, int flags)
{
	long result = __ukl_shortcut_sendto(fd, buf, (long)len, flags, 0, 0);

	return __ukl_interrupted(result) ? send(fd, buf, len, flags) : __ukl_result(result);
}

static inline ssize_t ukl_recv(int fd, void *buf, size_t len, int flags)
{
	long result = __ukl_shortcut_recvfrom(fd, buf, (long)len, flags, 0, 0);

	return __ukl_interrupted(result) ? recv(fd, buf, len, flags) : __ukl_result(result);
}

static inline ssize_t ukl_read(int fd, void *buf, size_t len)
{
	long result = __ukl_shortcut_read(fd, buf, (long)len);

	return __ukl_interrupted(result) ? read(fd, buf, len) : __ukl_result(result);
}

static inline ssize_t ukl_write(int fd, const void *buf, size_t len)
{
	long result = __ukl_shortcut_write(fd, buf, (long)len);

	return __ukl_interrupted(result) ? write(fd, buf, len) : __ukl_result(result);
}

static inline ssize_t ukl_pread(int fd, void *buf, size_t len, off_t pos)
{
	long result = __ukl_shortcut_pread64(fd, buf, (long)len, pos);

	return __ukl_interrupted(result) ? pread(fd, buf, len, pos) : __ukl_result(result);
}

static inline int ukl_epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	long result = __ukl_shortcut_epoll_wait(fd, events, max, timeout);

	if (__ukl_interrupted(result))
		return epoll_wait(fd, events, max, timeout);
	return (int)__ukl_result(result);
}

#ifdef __cplusplus
}
#endif

#endif
