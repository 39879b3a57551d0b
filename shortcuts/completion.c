// SPDX-License-Identifier: GPL-2.0-only
/*
 * Run to completion: a thread that is not preempted until it blocks, or says
 * that it is done.
 *
 * It becomes a thread of the real-time class with the highest priority, which
 * none of the others takes the processor from; its interrupts come as ever.  Its
 * watchdog is the scheduler's server for ordinary threads: a twentieth of each
 * second is theirs (sched-deadline.rst), so that a thread that never blocks can
 * be found and killed.  Children start as ordinary ones.
 */
#include <linux/sched.h>
#include <linux/sched/prio.h>
#include <uapi/linux/sched/types.h>

/* What a thread was: policy, real-time priority, nice value from 0 on. */
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
