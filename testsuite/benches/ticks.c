// SPDX-License-Identifier: GPL-2.0-only
/* Interrupts of constant cost: a timer whose handler does nothing. */
#include <linux/hrtimer.h>

long ticks_start(long ns);
long ticks_stop(void);

static struct hrtimer timer;
static ktime_t period;

static enum hrtimer_restart tick(struct hrtimer *timer)
{
	hrtimer_forward_now(timer, period);
	return HRTIMER_RESTART;
}

long ticks_start(long ns)
{
	period = ns_to_ktime(ns);
	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	timer.function = tick;
	hrtimer_start(&timer, period, HRTIMER_MODE_REL_PINNED_HARD);
	return 0;
}

long ticks_stop(void)
{
	return hrtimer_cancel(&timer);
}
