/* SPDX-License-Identifier: GPL-2.0-only */
/* Looking up the descriptor, which every shortcut does first. */
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
 * An inlined fdget().  A single-threaded process borrows the reference of its
 * descriptor table.  If threads share the table, fdget() takes a reference.
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

/* Not an errno: the kernel's own function has to handle this call. */
#define ELSEWHERE (-MAX_ERRNO - 1L)

/* The kernel's own functions.  Not all of them are declared in a header. */
ssize_t ksys_read(unsigned int fd, char __user *buf, size_t count);
ssize_t ksys_write(unsigned int fd, const char __user *buf, size_t count);
int do_epoll_wait(int epfd, struct epoll_event __user *events, int max, struct timespec64 *to);
asmlinkage long __x64_sys_epoll_pwait(const struct pt_regs *regs);

#endif
