// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts of constant cost, by a timer whose handler does nothing; and what a
 * kernel function costs without the transition.
 */
#include <linux/hrtimer.h>
#include <asm/msr.h>

long ticks_start(long ns);
long ticks_stop(void);
long ticks_of_getppid(long calls);
long __x64_sys_getppid(const struct pt_regs *regs);

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

static noinline void nothing(void)
{
	barrier();
}

/* The ticks that so many calls take, without those of the loop. */
long ticks_of_getppid(long calls)
{
	unsigned long from, middle, flags, least = ~0UL;
	int round;
	long i;

	for (round = 0; round < 9; round++) {
		local_irq_save(flags);
		from = rdtsc();
		for (i = 0; i < calls; i++)
			nothing();
		middle = rdtsc();
		for (i = 0; i < calls; i++)
			__x64_sys_getppid(NULL);
		least = min(least, (unsigned long)rdtsc() - middle - (middle - from));
		local_irq_restore(flags);
	}
	return least;
}
