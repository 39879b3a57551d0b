// SPDX-License-Identifier: GPL-2.0-only
/*
 * read() and write() on sockets, and on files at their current position.
 * socket.h and file.h say what each leaves out.
 */
#include "file.h"
#include "socket.h"

/*
 * Locks the file's position if another thread or process may use it, like
 * fdget_pos(). These files are not directories, and all have a position.
 */
static __always_inline bool lock_position(struct file *file)
{
	if (likely(!(file->f_mode & FMODE_ATOMIC_POS) || file_count(file) <= 1))
		return false;
	mutex_lock(&file->f_pos_lock);
	return true;
}

static __always_inline long at_position(struct file *file, void __user *buf, long len, bool out)
{
	bool locked = lock_position(file);
	loff_t pos = file->f_pos;
	long ret;

	ret = out ? write_file(file, buf, len, &pos, 0) : read_file(file, buf, len, &pos, 0);
	if (likely(ret >= 0))
		file->f_pos = pos;
	if (locked)
		mutex_unlock(&file->f_pos_lock);
	return ret;
}

static __always_inline long stream(int number, void __user *buf, long len, bool out)
{
	struct fd f = descriptor(number);
	struct file *file = fd_file(f);
	long ret = ELSEWHERE;

	if (unlikely(!file))
		return -EBADF;
	/* The kernel's own function handles empty and overlong requests. */
	if (unlikely(len <= 0))
		goto out;
	if (file->f_op == &socket_file_ops)
		ret = transfer(file, buf, len, 0, out, FILE_CALL);
	else if (is_known(file))
		ret = at_position(file, buf, len, out);
out:
	fdput(f);
	return ret;
}

long __ukl_shortcut_read(long fd, long buf, long len);
long __ukl_shortcut_read(long fd, long buf, long len)
{
	long ret = stream(fd, (void __user *)buf, len, false);

	if (unlikely(ret == ELSEWHERE))
		ret = ksys_read(fd, (char __user *)buf, len);
	return ret;
}

long __ukl_shortcut_write(long fd, long buf, long len);
long __ukl_shortcut_write(long fd, long buf, long len)
{
	long ret = stream(fd, (void __user *)buf, len, true);

	if (unlikely(ret == ELSEWHERE))
		ret = ksys_write(fd, (char __user *)buf, len);
	return ret;
}
