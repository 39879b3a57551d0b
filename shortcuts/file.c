// SPDX-License-Identifier: GPL-2.0-only
/* pread64() and pwrite64(): file.h says what is left out of them. */
#include "file.h"

long __ukl_shortcut_pread64(long fd, long buf, long len, long pos);
long __ukl_shortcut_pread64(long fd, long buf, long len, long pos)
{
	struct fd f = descriptor(fd);
	struct file *file = fd_file(f);
	long ret = ELSEWHERE;
	loff_t at = pos;

	if (likely(file) && likely(is_known(file)))
		ret = read_file(file, (void __user *)buf, len, &at, FMODE_PREAD);
	fdput(f);
	if (unlikely(ret == ELSEWHERE))
		ret = ksys_pread64(fd, (char __user *)buf, len, pos);
	return ret;
}

long __ukl_shortcut_pwrite64(long fd, long buf, long len, long pos);
long __ukl_shortcut_pwrite64(long fd, long buf, long len, long pos)
{
	struct fd f = descriptor(fd);
	struct file *file = fd_file(f);
	long ret = ELSEWHERE;
	loff_t at = pos;

	if (likely(file) && likely(is_known(file)))
		ret = write_file(file, (void __user *)buf, len, &at, FMODE_PWRITE);
	fdput(f);
	if (unlikely(ret == ELSEWHERE))
		ret = ksys_pwrite64(fd, (char __user *)buf, len, pos);
	return ret;
}
