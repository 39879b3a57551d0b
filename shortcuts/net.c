// SPDX-License-Identifier: GPL-2.0-only
/* sendto() and recvfrom().  socket.h says what they leave out. */
#include "socket.h"

/* Flags that all protocols here treat alike, or that each protocol handles itself. */
#define SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_EOR | MSG_CONFIRM)
#define RECV_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_PEEK | MSG_WAITALL | MSG_TRUNC)

static __always_inline long on_socket(int number, void __user *buf, size_t len,
				      unsigned int flags, bool out)
{
	struct fd f = descriptor(number);
	struct file *file = fd_file(f);
	long ret = ELSEWHERE;

	if (unlikely(!file))
		return -EBADF;
	if (likely(file->f_op == &socket_file_ops))
		ret = transfer(file, buf, len, flags, out, SOCKET_CALL);
	fdput(f);
	return ret;
}

long __ukl_shortcut_sendto(long fd, long buf, long len, long flags, long addr, long addr_len);
long __ukl_shortcut_sendto(long fd, long buf, long len, long flags, long addr, long addr_len)
{
	long ret = ELSEWHERE;

	if (likely(!addr && !((unsigned int)flags & ~SEND_FLAGS)))
		ret = on_socket(fd, (void __user *)buf, len, flags, true);
	if (unlikely(ret == ELSEWHERE))
		ret = __sys_sendto(fd, (void __user *)buf, len, flags,
				   (struct sockaddr __user *)addr, addr_len);
	return ret;
}

long __ukl_shortcut_recvfrom(long fd, long buf, long len, long flags, long addr, long addr_len);
long __ukl_shortcut_recvfrom(long fd, long buf, long len, long flags, long addr, long addr_len)
{
	long ret = ELSEWHERE;

	if (likely(!addr && !((unsigned int)flags & ~RECV_FLAGS)))
		ret = on_socket(fd, (void __user *)buf, len, flags, false);
	if (unlikely(ret == ELSEWHERE))
		ret = __sys_recvfrom(fd, (void __user *)buf, len, flags,
				     (struct sockaddr __user *)addr,
				     (int __user *)addr_len);
	return ret;
}
