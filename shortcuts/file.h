/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Read and write of files of tmpfs and ext4.
 *
 * What is left out of a read whose data is in one page of the page cache: the
 * kiocb and the iterator, the file system's read function, the batch of pages and
 * its read-ahead state.  Of any other read, and of a write: the walk through the
 * file's table of functions, and checks that hold for every file of these.  What
 * stays: the range checks of buffer and position, the LSM hook file_permission,
 * fanotify and inotify, the access time, the page's age, the freezing of file
 * systems, and the accounting of I/O; in the file system's function all that
 * belongs to a write: limits of size, seals, O_APPEND, O_DIRECT, O_SYNC, set-user-ID
 * bits, times, the journal.
 */
#ifndef FILE_H
#define FILE_H

#include <linux/fsnotify.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/xacct.h>
#include <linux/security.h>
#include <linux/swap.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <fs/ext4/ext4.h>

#include "descriptor.h"

/* These belong to files of the kernel alone. */
extern const struct file_operations shmem_file_operations;
ssize_t shmem_file_write_iter(struct kiocb *iocb, struct iov_iter *from);
ssize_t ext4_file_write_iter(struct kiocb *iocb, struct iov_iter *from);

static __always_inline bool is_ext4(const struct file *file)
{
	return file->f_op == &ext4_file_operations;
}

static __always_inline bool is_known(const struct file *file)
{
	return file->f_op == &shmem_file_operations || is_ext4(file);
}

/* Less than nothing asks for the file system's function. */
static __always_inline long copy_cached(struct file *file, void __user *buf, size_t len,
					loff_t pos)
{
	struct address_space *mapping = file->f_mapping;
	struct folio *folio;
	size_t offset, left;
	long copied = -1;
	loff_t size;

	if (unlikely(file->f_flags & O_DIRECT) || unlikely(IS_DAX(mapping->host)) ||
	    (is_ext4(file) && unlikely(ext4_forced_shutdown(mapping->host->i_sb))))
		return -1;
	folio = filemap_get_entry(mapping, pos >> PAGE_SHIFT);
	if (unlikely(!folio || xa_is_value(folio)))
		return -1;
	if (unlikely(!folio_test_uptodate(folio) || folio_test_hwpoison(folio) ||
		     folio_test_large(folio)))
		goto out;
	/* The size is looked at when the page is known to be whole. */
	size = i_size_read(mapping->host);
	if (unlikely(pos >= size))
		goto out;
	len = min_t(loff_t, len, size - pos);
	offset = offset_in_folio(folio, pos);
	if (unlikely(offset + len > PAGE_SIZE))
		goto out;
	left = copy_to_user(buf, folio_address(folio) + offset, len);
	if (unlikely(left))
		goto out;
	if ((file->f_ra.prev_pos - 1) >> PAGE_SHIFT != pos >> PAGE_SHIFT)
		folio_mark_accessed(folio);
	file->f_ra.prev_pos = pos + len;
	file_accessed(file);
	copied = len;
out:
	folio_put(folio);
	return copied;
}

/* init_sync_kiocb(), and the priority of the I/O only where there is any right now. */
static __always_inline void set_up(struct kiocb *iocb, struct iov_iter *iter, struct file *file,
				   unsigned int direction, void __user *buf, size_t len, loff_t pos)
{
	*iocb = (struct kiocb){
		.ki_filp = file,
		.ki_flags = file->f_iocb_flags,
		.ki_pos = pos,
	};
	if (unlikely(file->f_flags & O_DIRECT))
		iocb->ki_ioprio = get_current_ioprio();
	iov_iter_ubuf(iter, direction, buf, min_t(size_t, len, MAX_RW_COUNT));
}

/* As new_sync_read() does it. */
static noinline long read_iter(struct file *file, void __user *buf, size_t len, loff_t *pos)
{
	struct iov_iter iter;
	struct kiocb iocb;
	long ret;

	set_up(&iocb, &iter, file, ITER_DEST, buf, len, *pos);
	ret = file->f_op->read_iter(&iocb, &iter);
	*pos = iocb.ki_pos;
	return ret;
}

/* What is wrong with a call, the kernel's own function finds out and says. */
static __always_inline bool is_plain(const struct file *file, fmode_t mode, void __user *buf,
				     long len, loff_t pos)
{
	return likely((file->f_mode & mode) == mode) && likely(len > 0 && pos >= 0) &&
	       likely((loff_t)((u64)pos + len) >= 0) && likely(access_ok(buf, len));
}

/* vfs_read(), of a file of these. */
static __always_inline long read_file(struct file *file, void __user *buf, long len, loff_t *pos,
				      fmode_t mode)
{
	long ret;

	if (!is_plain(file, mode | FMODE_READ | FMODE_CAN_READ, buf, len, *pos))
		return ELSEWHERE;
	ret = security_file_permission(file, MAY_READ) ?: fsnotify_file_perm(file, MAY_READ);
	if (unlikely(ret))
		return ret;
	ret = copy_cached(file, buf, len, *pos);
	if (likely(ret >= 0))
		*pos += ret;
	else
		ret = read_iter(file, buf, len, pos);
	if (likely(ret > 0)) {
		fsnotify_access(file);
		add_rchar(current, ret);
	}
	inc_syscr(current);
	return ret;
}

/* vfs_write(), of a file of these, which are regular. */
static __always_inline long write_file(struct file *file, const void __user *buf, long len,
				       loff_t *pos, fmode_t mode)
{
	struct super_block *super;
	struct iov_iter iter;
	struct kiocb iocb;
	long ret;

	if (!is_plain(file, mode | FMODE_WRITE | FMODE_CAN_WRITE, (void __user *)buf, len, *pos))
		return ELSEWHERE;
	ret = security_file_permission(file, MAY_WRITE);
	if (unlikely(ret))
		return ret;
	super = file_inode(file)->i_sb;
	sb_start_write(super);
	set_up(&iocb, &iter, file, ITER_SOURCE, (void __user *)buf, len, *pos);
	ret = is_ext4(file) ? ext4_file_write_iter(&iocb, &iter) :
			      shmem_file_write_iter(&iocb, &iter);
	if (likely(ret > 0)) {
		*pos = iocb.ki_pos;
		fsnotify_modify(file);
		add_wchar(current, ret);
	}
	inc_syscw(current);
	sb_end_write(super);
	return ret;
}

#endif
