// SPDX-License-Identifier: GPL-2.0-only
/*
 * Run to completion: a thread is not preempted until it blocks or turns this off.
 *
 * The thread gets the highest priority of the real-time class, so no other thread
 * preempts it; interrupts are handled as usual.  The scheduler's fair server acts
 * as a watchdog: it reserves a twentieth of each second for ordinary threads
 * (Documentation/scheduler/sched-deadline.rst), so a thread that never blocks can
 * be found and killed.  Children start as ordinary threads.
 */
#include <linux/sched.h>
#include <linux/sched/prio.h>
#include <uapi/linux/sched/types.h>

/* A thread's previous scheduling: policy, real-time priority, and nice value - MIN_NICE. */
#define PACK(policy, priority, nice)	((policy) | (priority) << 8 | ((nice) - MIN_NICE) << 16)

long __ukl_shortcut_run_to_completion(long before);
long __ukl_shortcut_run_to_completion(long before)
{
	long now = PACK(current->policy, (long)current->rt_priority, (long)task_nice(current));
	struct sched_param param = { .sched_priority = MAX_RT_PRIO - 1 };
	int policy = SCHED_FIFO | SCHED_RESET_ON_FORK, ret;

	if (before >= 0) {
		policy = before & 0xff;
		param.sched_priority = before >> 8 & 0xff;
	}
	ret = sched_setscheduler_nocheck(current, policy, &param);
	if (ret)
		return ret;
	if (before < 0)
		return now;
	set_user_nice(current, (before >> 16 & 0xff) + MIN_NICE);
	return 0;
}
