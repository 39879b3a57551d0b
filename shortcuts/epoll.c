// SPDX-License-Identifier: GPL-2.0-only
/*
 * epoll_wait() where something is ready.
 *
 * What is left out: the timeout, which nobody will wait for; taking the ready
 * list away and putting it back, each under the lock; a reference to the file
 * and the way through its and the socket's tables of functions.  What stays: the
 * descriptor's checks and reference, the range check of the buffer, the epoll's
 * mutex, the poll of each file, level, edge and one-shot.  Where nothing is ready
 * the kernel's way waits for it.
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

/* Made of the kernel's source, as no header has them. */
#include <generated/ukl-eventpoll.h>

#include "descriptor.h"

extern const struct file_operations eventpoll_fops, socket_file_ops;
extern const struct proto_ops unix_stream_ops;
__poll_t unix_poll(struct file *file, struct socket *sock, poll_table *wait);

#define MAX_EVENTS (INT_MAX / sizeof(struct epoll_event))
/* What one-shot leaves of an entry. */
#define OWN_BITS (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)
/* Entries of these kinds are off the ready list before they are polled. */
#define ONCE (EPOLLET | EPOLLONESHOT)

/* As long as ep->mtx is held the file stays, but it may be on its way out. */
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

/* To the end, where it is behind all that wait, unless its callback was there. */
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

/* What is left is for whoever else waits. */
static void wake_others(struct eventpoll *ep)
{
	if (list_empty(&ep->rdllist) || !waitqueue_active(&ep->wq))
		return;
	spin_lock_irq(&ep->lock);
	wake_up(&ep->wq);
	spin_unlock_irq(&ep->lock);
}

/*
 * With ep->mtx held, nobody else takes entries off the ready list; callbacks
 * add at its end.  So its head can be read without the lock, and an entry that is
 * level-triggered and ready stays where it is.
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
		/* Off the list, its callback puts it there again. */
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

/* epoll_wait() itself: milliseconds, less than none for ever. */
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
