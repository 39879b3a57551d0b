/* SPDX-License-Identifier: GPL-2.0-only */
/* What all shortcuts begin with: the descriptor. */
#ifndef DESCRIPTOR_H
#define DESCRIPTOR_H

#include <linux/err.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <linux/syscalls.h>
#include <linux/timekeeping.h>

/*
 * fdget() in place.  A process of one thread borrows the reference that its
 * table has; where threads share the table, the kernel's own takes one.
 */
static __always_inline struct fd descriptor(unsigned int number)
{
	struct files_struct *files = current->files;
	struct file *file;

	if (unlikely(atomic_read_acquire(&files->count) != 1))
		return fdget(number);
	file = files_lookup_fd_raw(files, number);
	if (unlikely(!file) || unlikely(file->f_mode & FMODE_PATH))
		return EMPTY_FD;
	return BORROWED_FD(file);
}

/* No error: the call is for the kernel's own function to do. */
#define ELSEWHERE (-MAX_ERRNO - 1L)

/* The kernel's own functions, some of which have no header. */
ssize_t ksys_read(unsigned int fd, char __user *buf, size_t count);
ssize_t ksys_write(unsigned int fd, const char __user *buf, size_t count);
int do_epoll_wait(int epfd, struct epoll_event __user *events, int max, struct timespec64 *to);
asmlinkage long __x64_sys_epoll_pwait(const struct pt_regs *regs);

#endif
