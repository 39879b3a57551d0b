// SPDX-License-Identifier: GPL-2.0-only
/*
 * epoll_wait() for a set in which something is ready.
 *
 * It leaves out: the timeout, because there is nothing to wait for; detaching
 * and re-attaching the ready list, each under the lock; a reference to each
 * file; and the indirect calls through the operations of the file and the
 * socket.
 *
 * It keeps: the checks and the reference of the descriptor, the range check of
 * the buffer, the mutex of the set, the poll of each file, and level-triggered,
 * edge-triggered and one-shot entries.  If nothing is ready, it calls the
 * kernel's own function, which waits.
 */
#include <linux/fs.h>
#include <linux/eventpoll.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <net/inet_common.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/udp.h>

/* struct eventpoll and struct epitem, extracted from fs/eventpoll.c: no header has them. */
#include <generated/ukl-eventpoll.h>

#include "descriptor.h"

extern const struct file_operations eventpoll_fops, socket_file_ops;
extern const struct proto_ops unix_stream_ops;
__poll_t unix_poll(struct file *file, struct socket *sock, poll_table *wait);

#define MAX_EVENTS (INT_MAX / sizeof(struct epoll_event))
/* The bits that remain set in an entry after a one-shot event (EP_PRIVATE_BITS). */
#define OWN_BITS (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)
/* Entries with these bits leave the ready list before they are polled. */
#define ONCE (EPOLLET | EPOLLONESHOT)

/*
 * ep->mtx keeps the file's memory valid, but the last reference may already
 * have been dropped.
 */
static __always_inline __poll_t poll_item(struct epitem *epi, poll_table *table)
{
	struct file *file = epi->ffd.file;
	__poll_t ready;

	table->_key = epi->event.events;
	if (likely(file->f_op == &socket_file_ops)) {
		struct socket *sock = file->private_data;
		const struct proto_ops *ops = READ_ONCE(sock->ops);

		if (likely(atomic_long_read(&file->f_count))) {
			if (ops == &inet_stream_ops)
				return tcp_poll(file, sock, table) & epi->event.events;
			if (ops == &inet_dgram_ops)
				return udp_poll(file, sock, table) & epi->event.events;
			if (ops == &unix_stream_ops)
				return unix_poll(file, sock, table) & epi->event.events;
		}
	}
	if (!atomic_long_inc_not_zero(&file->f_count))
		return 0;
	ready = vfs_poll(file, table);
	fput(file);
	return ready & epi->event.events;
}

static void take_off(struct eventpoll *ep, struct epitem *epi)
{
	spin_lock_irq(&ep->lock);
	list_del_init(&epi->rdllink);
	spin_unlock_irq(&ep->lock);
}

/* Puts an entry back on the ready list, unless its wake-up callback has done that already. */
static void put_back(struct eventpoll *ep, struct epitem *epi, bool first)
{
	spin_lock_irq(&ep->lock);
	if (list_empty(&epi->rdllink)) {
		if (first)
			list_add(&epi->rdllink, &ep->rdllist);
		else
			list_add_tail(&epi->rdllink, &ep->rdllist);
	} else if (!first) {
		list_move_tail(&epi->rdllink, &ep->rdllist);
	}
	spin_unlock_irq(&ep->lock);
}

/* Wakes other waiters up if ready entries are left. */
static void wake_others(struct eventpoll *ep)
{
	if (list_empty(&ep->rdllist) || !waitqueue_active(&ep->wq))
		return;
	spin_lock_irq(&ep->lock);
	wake_up(&ep->wq);
	spin_unlock_irq(&ep->lock);
}

/*
 * While ep->mtx is held, nobody else removes entries from the ready list, and
 * wake-up callbacks only append to it.  So the head can be read without the lock,
 * and a ready level-triggered entry can stay where it is.
 */
static int deliver(struct eventpoll *ep, struct epoll_event __user *events, int max)
{
	struct epitem *epi, *last = list_last_entry(&ep->rdllist, struct epitem, rdllink);
	poll_table table;
	int count = 0;
	__poll_t ready;
	bool once;

	init_poll_funcptr(&table, NULL);
	while (count < max && !list_empty(&ep->rdllist)) {
		epi = list_first_entry(&ep->rdllist, struct epitem, rdllink);
		once = epi->event.events & ONCE;
		/* Once it is off the list, an event during the poll queues it again. */
		if (once)
			take_off(ep, epi);
		ready = poll_item(epi, &table);
		if (unlikely(!ready) && !once) {
			take_off(ep, epi);
			ready = poll_item(epi, &table);
		}
		if (likely(ready)) {
			events = epoll_put_uevent(ready, epi->event.data, events);
			if (unlikely(!events)) {
				put_back(ep, epi, true);
				count = count ?: -EFAULT;
				break;
			}
			count++;
			if (epi->event.events & EPOLLONESHOT)
				epi->event.events &= OWN_BITS;
			else if (!once && (list_empty(&epi->rdllink) ||
					   !list_is_singular(&ep->rdllist)))
				put_back(ep, epi, false);
		}
		if (epi == last)
			break;
	}
	wake_others(ep);
	return count;
}

/* The kernel's epoll_wait().  The timeout is in milliseconds; a negative one is infinite. */
static noinline long wait_for_events(int fd, void __user *events, int max, int timeout)
{
	struct timespec64 end = {};

	if (timeout < 0)
		return do_epoll_wait(fd, events, max, NULL);
	poll_select_set_timeout(&end, timeout / MSEC_PER_SEC,
				timeout % MSEC_PER_SEC * NSEC_PER_MSEC);
	return do_epoll_wait(fd, events, max, &end);
}

long __ukl_shortcut_epoll_wait(long fd, long events, long max, long timeout);
long __ukl_shortcut_epoll_wait(long fd, long events, long max, long timeout)
{
	struct fd f = descriptor(fd);
	struct file *file = fd_file(f);
	struct eventpoll *ep;
	int count = 0;

	if (unlikely(!file) || unlikely(file->f_op != &eventpoll_fops) ||
	    unlikely((int)max <= 0 || (int)max > MAX_EVENTS) ||
	    unlikely(!access_ok((void __user *)events, (int)max * sizeof(struct epoll_event))))
		goto out;
	ep = file->private_data;
	if (list_empty_careful(&ep->rdllist) || unlikely(READ_ONCE(ep->ws)))
		goto out;
	if (unlikely(fatal_signal_pending(current))) {
		count = -EINTR;
		goto out;
	}
	mutex_lock(&ep->mtx);
	if (likely(!list_empty(&ep->rdllist)))
		count = deliver(ep, (void __user *)events, max);
	mutex_unlock(&ep->mtx);
out:
	fdput(f);
	if (likely(count))
		return count;
	return wait_for_events(fd, (void __user *)events, max, timeout);
}

long __ukl_shortcut_epoll_pwait(long fd, long events, long max, long timeout, long mask, long size);
long __ukl_shortcut_epoll_pwait(long fd, long events, long max, long timeout, long mask, long size)
{
	struct pt_regs regs __uninitialized;

	if (likely(!mask))
		return __ukl_shortcut_epoll_wait(fd, events, max, timeout);
	regs.di = fd;
	regs.si = events;
	regs.dx = max;
	regs.r10 = timeout;
	regs.r8 = mask;
	regs.r9 = size;
	return __x64_sys_epoll_pwait(&regs);
}
