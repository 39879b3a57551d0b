// SPDX-License-Identifier: GPL-2.0-only
/*
 * pread() of what is in the page cache, on tmpfs and ext4.
 *
 * What is left out: the kiocb and the iterator, the file system's read function,
 * the batch of pages and its read-ahead state.  What stays: the descriptor's
 * checks and reference, the range checks of buffer and position, the LSM hook
 * file_permission, fanotify and inotify, the access time, the page's age, and
 * the accounting of I/O.  A page that is not there or not read yet, a range
 * over more than one folio, O_DIRECT, and other file systems go the kernel's way.
 * An ext4 that was shut down (EXT4_IOC_SHUTDOWN) still gives what is in memory.
 */
#include <linux/fsnotify.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/xacct.h>
#include <linux/security.h>
#include <linux/swap.h>
#include <linux/uaccess.h>

#include "descriptor.h"

extern const struct file_operations ext4_file_operations, shmem_file_operations;

static __always_inline bool is_cached_by_page(const struct file *file)
{
	return (file->f_op == &shmem_file_operations || file->f_op == &ext4_file_operations) &&
	       !(file->f_flags & O_DIRECT) && !IS_DAX(file->f_mapping->host);
}

/* Less than nothing asks for the kernel's way. */
static __always_inline long copy_cached(struct file *file, void __user *buf, size_t len,
					loff_t pos)
{
	struct address_space *mapping = file->f_mapping;
	struct folio *folio;
	size_t offset, left;
	long copied = -1;
	loff_t size;

	folio = filemap_get_entry(mapping, pos >> PAGE_SHIFT);
	if (unlikely(!folio || xa_is_value(folio)))
		return -1;
	offset = offset_in_folio(folio, pos);
	/* The size is looked at when the page is known to be whole. */
	if (unlikely(!folio_test_uptodate(folio) || folio_test_hwpoison(folio) ||
		     folio_test_large(folio) || offset + len > PAGE_SIZE))
		goto out;
	size = i_size_read(mapping->host);
	if (unlikely(pos >= size))
		goto out;
	len = min_t(loff_t, len, size - pos);
	left = copy_to_user(buf, folio_address(folio) + offset, len);
	if (unlikely(left))
		goto out;
	if ((file->f_ra.prev_pos - 1) >> PAGE_SHIFT != pos >> PAGE_SHIFT)
		folio_mark_accessed(folio);
	file->f_ra.prev_pos = pos + len;
	copied = len;
out:
	folio_put(folio);
	return copied;
}

long __ukl_shortcut_pread64(long fd, long buf, long len, long pos);
long __ukl_shortcut_pread64(long fd, long buf, long len, long pos)
{
	struct fd f = descriptor(fd);
	struct file *file = fd_file(f);
	loff_t at = pos;
	long ret;

	if (unlikely(!file) || unlikely(len <= 0 || len > PAGE_SIZE || pos < 0) ||
	    unlikely((file->f_mode & (FMODE_READ | FMODE_PREAD)) != (FMODE_READ | FMODE_PREAD)) ||
	    unlikely(!is_cached_by_page(file)) ||
	    unlikely(!access_ok((void __user *)buf, len)))
		goto elsewhere;
	ret = rw_verify_area(READ, file, &at, len);
	if (unlikely(ret))
		goto out;
	ret = copy_cached(file, (void __user *)buf, len, pos);
	if (unlikely(ret < 0))
		goto elsewhere;
	file_accessed(file);
	fsnotify_access(file);
	add_rchar(current, ret);
	inc_syscr(current);
out:
	fdput(f);
	return ret;
elsewhere:
	fdput(f);
	return ksys_pread64(fd, (char __user *)buf, len, pos);
}
