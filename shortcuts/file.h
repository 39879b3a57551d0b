/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Read and write of files on tmpfs and ext4.
 *
 * A read whose data is in one page of the page cache leaves out the kiocb, the
 * iterator, the file system's read function, and the batch of pages with its
 * read-ahead state.  Other reads, and writes, leave out the indirect call through
 * the file's operations, and checks that always succeed for these files.
 *
 * All of them keep the range checks of buffer and position, the LSM hook
 * file_permission, fanotify and inotify, the access time, the page's age, the
 * freezing of file systems, and I/O accounting.  A write calls the file system's
 * function, which handles size limits, seals, O_APPEND, O_DIRECT, O_SYNC,
 * set-user-ID bits, times, and the journal.
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

/* Static in the kernel, so no header declares them. */
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

/* Returns a negative value if the file system's function has to do the read. */
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
	/* Read the size only after the page is known to be up to date, as filemap_read() does. */
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

/* init_sync_kiocb(); only direct I/O needs the I/O priority at this point. */
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

/* The same as new_sync_read(). */
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

/* Whether the arguments are valid.  If not, the kernel's own function reports the error. */
static __always_inline bool is_plain(const struct file *file, fmode_t mode, void __user *buf,
				     long len, loff_t pos)
{
	return likely((file->f_mode & mode) == mode) && likely(len > 0 && pos >= 0) &&
	       likely((loff_t)((u64)pos + len) >= 0) && likely(access_ok(buf, len));
}

/* vfs_read() for files on tmpfs and ext4. */
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

/* vfs_write() for regular files on tmpfs and ext4. */
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
