/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Send and receive on TCP, UDP and Unix stream sockets.
 *
 * They leave out: space for an address that the caller did not request; the
 * indirect calls through the operations of the file, the socket and the address
 * family (two or three, each with its mitigation); and the kiocb of read() and
 * write().
 *
 * They keep: the checks and the reference of the descriptor, the range check of
 * the buffer, the LSM hooks socket_sendmsg and socket_recvmsg (for read and
 * write also file_permission), flow recording, the tracepoints of the lengths,
 * inotify, and I/O accounting. The kernel's own functions handle addresses,
 * control messages and other kinds of sockets.
 */
#ifndef SOCKET_H
#define SOCKET_H

#include <linux/fsnotify.h>
#include <linux/net.h>
#include <linux/sched/xacct.h>
#include <linux/security.h>
#include <linux/socket.h>
#include <linux/uio.h>
#include <net/inet_common.h>
#include <net/rps.h>
#include <net/ipv6.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/transp_v6.h>
#include <net/udp.h>
#include <trace/events/sock.h>

#include "descriptor.h"

/* Static in the kernel, so no header declares them. */
extern const struct file_operations socket_file_ops;
extern const struct proto_ops unix_stream_ops;
int udp_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags, int *addr_len);
int unix_stream_sendmsg(struct socket *sock, struct msghdr *msg, size_t len);
int unix_stream_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags);

enum kind { OTHER, TCP, UDP, UNIX };

static __always_inline enum kind kind_of(struct socket *sock)
{
	const struct proto_ops *ops = READ_ONCE(sock->ops);

	/* kTLS and sockmap replace sk_prot; such sockets are OTHER. */
	if (ops == &inet_stream_ops)
		return READ_ONCE(sock->sk->sk_prot) == &tcp_prot ? TCP : OTHER;
	if (ops == &unix_stream_ops)
		return UNIX;
	if (ops == &inet_dgram_ops)
		return READ_ONCE(sock->sk->sk_prot) == &udp_prot ? UDP : OTHER;
	if (ops == &inet6_stream_ops)
		return READ_ONCE(sock->sk->sk_prot) == &tcpv6_prot ? TCP : OTHER;
	return OTHER;
}

/* A message that consists of data only.  The members not set here are never read. */
static __always_inline bool set_up_message(struct msghdr *msg, unsigned int direction,
					   void __user *buf, size_t len, unsigned int flags)
{
	if (unlikely(!access_ok(buf, len)))
		return false;
	iov_iter_ubuf(&msg->msg_iter, direction, buf, min_t(size_t, len, MAX_RW_COUNT));
	msg->msg_name = NULL;
	msg->msg_namelen = 0;
	msg->msg_inq = 0;
	msg->msg_flags = flags;
	msg->msg_control_is_user = false;
	msg->msg_get_inq = false;
	msg->msg_control = NULL;
	msg->msg_controllen = 0;
	msg->msg_iocb = NULL;
	msg->msg_ubuf = NULL;
	msg->sg_from_iter = NULL;
	return true;
}

static __always_inline long send(enum kind kind, struct socket *sock, struct msghdr *msg)
{
	size_t len = msg_data_left(msg);
	struct sock *sk = sock->sk;
	int ret = security_socket_sendmsg(sock, msg, len);

	if (unlikely(ret))
		return ret;
	if (kind == UNIX) {
		ret = unix_stream_sendmsg(sock, msg, len);
	} else {
		if (unlikely(inet_send_prepare(sk)))
			ret = -EAGAIN;
		else if (kind == TCP)
			ret = tcp_sendmsg(sk, msg, len);
		else
			ret = udp_sendmsg(sk, msg, len);
	}
	if (trace_sock_send_length_enabled())
		trace_sock_send_length(sk, ret, 0);
	return ret;
}

static __always_inline long receive(enum kind kind, struct socket *sock, struct msghdr *msg,
				    unsigned int flags)
{
	size_t len = msg_data_left(msg);
	struct sock *sk = sock->sk;
	int ret = security_socket_recvmsg(sock, msg, len, flags), size = 0;

	if (unlikely(ret))
		return ret;
	if (kind == UNIX) {
		ret = unix_stream_recvmsg(sock, msg, len, flags);
	} else {
		sock_rps_record_flow(sk);
		if (kind == TCP)
			ret = tcp_recvmsg(sk, msg, len, flags, &size);
		else
			ret = udp_recvmsg(sk, msg, len, flags, &size);
	}
	if (trace_sock_recv_length_enabled())
		trace_sock_recv_length(sk, ret, flags);
	return ret;
}

/* The kind of system call: send() and recv(), or write() and read(). */
enum call { SOCKET_CALL, FILE_CALL };

static __always_inline long transfer(struct file *file, void __user *buf, size_t len,
				     unsigned int flags, bool out, enum call call)
{
	struct msghdr msg __uninitialized;
	struct socket *sock = file->private_data;
	enum kind kind = kind_of(sock);
	long ret;

	if (unlikely(kind == OTHER))
		return ELSEWHERE;
	if (unlikely(!set_up_message(&msg, out ? ITER_SOURCE : ITER_DEST, buf, len, 0)))
		return -EFAULT;
	if (call == FILE_CALL) {
		ret = security_file_permission(file, out ? MAY_WRITE : MAY_READ);
		if (unlikely(ret))
			return ret;
	}
	if (file->f_flags & O_NONBLOCK)
		flags |= MSG_DONTWAIT;
	if (out) {
		msg.msg_flags = flags;
		ret = send(kind, sock, &msg);
	} else {
		ret = receive(kind, sock, &msg, flags);
	}
	if (call == FILE_CALL) {
		if (ret > 0 && out) {
			fsnotify_modify(file);
			add_wchar(current, ret);
		} else if (ret > 0) {
			fsnotify_access(file);
			add_rchar(current, ret);
		}
		if (out)
			inc_syscw(current);
		else
			inc_syscr(current);
	}
	return ret;
}

#endif
