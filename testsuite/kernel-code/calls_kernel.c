// SPDX-License-Identifier: GPL-2.0-only
/* Kernel code that uses features which are hard to support in it: see calls.c. */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "calls.h"

/* A number that no driver may register. */
extern struct list_head init_css_set;

static DEFINE_MUTEX(lock);
static struct static_key_false odd;
static unsigned long total;

long add(long a, long b, long c, long d, long e, long f)
{
	return a + 10 * b + 100 * c + 1000 * d + 10000 * e + 100000 * f;
}

/* Sleeps while another thread runs on this processor. */
long sleep_a_little(int ms)
{
	msleep(ms);
	return current->pid;
}

/* Allocates, locks, prints with one of the kernel's own format specifiers, and copies to the program. */
long describe(char *text, unsigned long size)
{
	char *room = kmalloc(64, GFP_KERNEL);
	long ret = -ENOMEM;

	if (!room)
		return ret;
	mutex_lock(&lock);
	ret = snprintf(room, 64, "%s %pUb %lu", current->comm, "0123456789abcdef", ++total);
	mutex_unlock(&lock);
	if (copy_to_user((void __user *)text, room, min_t(unsigned long, ret + 1, size)))
		ret = -EFAULT;
	kfree(room);
	return ret;
}

/* A jump label that is changed while the code runs. */
long is_odd(int flip)
{
	if (flip) {
		if (static_key_enabled(&odd.key))
			static_key_disable(&odd.key);
		else
			static_key_enable(&odd.key);
	}
	return static_branch_unlikely(&odd) ? 1 : 0;
}

/* A symbol that is not exported to modules. */
long has_css_sets(void)
{
	return !list_empty(&init_css_set);
}

/* A fault that is handled by the exception table. */
long peek(const void *address)
{
	long value;

	return get_user(value, (const long __user *)address) ? -EFAULT : value;
}
