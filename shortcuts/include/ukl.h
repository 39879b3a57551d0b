/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Functions that UKL adds to libc's.  ukl-cc finds this header without a flag.
 * On the build host and at ring 3, each function makes the ordinary system call.
 */
#ifndef UKL_H
#define UKL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Permits the linker to take an undefined symbol from the kernel.  Without this,
 * or the option --ukl-kernel-symbols, such a symbol is an error, because it most
 * often means that a library was forgotten.  At file scope:
 *
 *	void *vmalloc(unsigned long size);
 *	UKL_KERNEL_SYMBOL(vmalloc);
 *
 * The linker drops the section.
 */
#define UKL_KERNEL_SYMBOL(name)							\
	__asm__(".pushsection .ukl_kernel_symbols,\"e\",@progbits\n\t"		\
		".asciz \"" #name "\"\n\t.popsection")

/*
 * Shortcuts: functions that do the work of a system call with fewer checks and
 * layers.  They behave like the functions of libc with the same name, including
 * errors and signals, but they are not cancellation points.
 */
long __ukl_shortcut_sendto(long fd, const void *buf, long len, long flags, long addr, long size);
long __ukl_shortcut_recvfrom(long fd, void *buf, long len, long flags, long addr, long size);
long __ukl_shortcut_read(long fd, void *buf, long len);
long __ukl_shortcut_write(long fd, const void *buf, long len);
long __ukl_shortcut_pread64(long fd, void *buf, long len, long pos);
long __ukl_shortcut_pwrite64(long fd, const void *buf, long len, long pos);
long __ukl_shortcut_epoll_wait(long fd, struct epoll_event *events, long max, long timeout);

static inline long __ukl_result(long result)
{
	if (__builtin_expect((unsigned long)result <= -4096UL, 1))
		return result;
	errno = (int)-result;
	return -1;
}

static inline ssize_t ukl_send(int fd, const void *buf, size_t len, int flags)
{
	return __ukl_result(__ukl_shortcut_sendto(fd, buf, (long)len, flags, 0, 0));
}

static inline ssize_t ukl_recv(int fd, void *buf, size_t len, int flags)
{
	return __ukl_result(__ukl_shortcut_recvfrom(fd, buf, (long)len, flags, 0, 0));
}

static inline ssize_t ukl_read(int fd, void *buf, size_t len)
{
	return __ukl_result(__ukl_shortcut_read(fd, buf, (long)len));
}

static inline ssize_t ukl_write(int fd, const void *buf, size_t len)
{
	return __ukl_result(__ukl_shortcut_write(fd, buf, (long)len));
}

static inline ssize_t ukl_pread(int fd, void *buf, size_t len, off_t pos)
{
	return __ukl_result(__ukl_shortcut_pread64(fd, buf, (long)len, pos));
}

static inline ssize_t ukl_pwrite(int fd, const void *buf, size_t len, off_t pos)
{
	return __ukl_result(__ukl_shortcut_pwrite64(fd, buf, (long)len, pos));
}

static inline int ukl_epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	return (int)__ukl_result(__ukl_shortcut_epoll_wait(fd, events, max, timeout));
}

/*
 * The policy: how the calling thread, and the threads and processes it starts,
 * enter the kernel and return from it.  The image sets the policy that the
 * options of its link chose.  At ring 3 it has no effect.
 */
#define UKL_BYPASS	0x10000000U	/* --ukl-transition=bypass */
#define UKL_RETURN_JUMP	0x20000000U	/* --ukl-return=jump */
#define UKL_SHARED	0x40000000U	/* --ukl-stack=shared, if the link chose it, too */
#define UKL_RET		UKL_RETURN_JUMP	/* the old name */
/* Take the full path after every n bypassed calls; n is 1 to 255. */
#define UKL_BYPASS_LIMIT(n)	((unsigned int)((n) & 0xff) << 8)
#define UKL_POLICY	(UKL_BYPASS | UKL_RETURN_JUMP | UKL_SHARED | UKL_BYPASS_LIMIT(0xff))

static inline unsigned int ukl_policy(void)
{
	return (unsigned int)personality(0xffffffff) & UKL_POLICY;
}

/* Returns 0, or -1 with errno set. */
static inline int ukl_set_policy(unsigned int policy)
{
	unsigned int now = (unsigned int)personality(0xffffffff);

	if (policy & ~UKL_POLICY) {
		errno = EINVAL;
		return -1;
	}
	return personality((now & ~UKL_POLICY) | policy) == -1 ? -1 : 0;
}

/*
 * Turns run to completion on or off: the scheduler does not preempt the calling
 * thread until it blocks.  Threads that never block leave 5 % of each second to
 * the others.  Returns 0, or -1 with errno set; at ring 3 it needs CAP_SYS_NICE.
 */
int ukl_run_to_completion(bool on);

#ifdef __cplusplus
}
#endif

#endif
