/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The shortcuts for the build host and for ring 3, where they are system calls.
 * Each function has two names. The shortcut's name is weak, so that an image
 * can override it. By the other name the image's program calls the function at
 * ring 3.
 */

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall" : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/* All are weak: libukl.a and the Rust crate may both be part of a link. */
#define SHORTCUT(number, name, kinds) \
	__attribute__((weak)) long __ukl_host_shortcut_##name(long a, long b, long c, long d, long e, long f); \
	long __ukl_host_shortcut_##name(long a, long b, long c, long d, long e, long f) \
	{ \
		return call(number, a, b, c, d, e, f); \
	} \
	__attribute__((weak, alias("__ukl_host_shortcut_" #name))) \
	long __ukl_shortcut_##name(long a, long b, long c, long d, long e, long f)

#include "shortcuts.def"

/*
 * Run to completion for an ordinary process. shortcuts/completion.c describes
 * it, and how the previous scheduling of a thread is packed into a word.
 */
enum { GETPRIORITY = 140, SETPRIORITY = 141, GETPARAM = 143, SETSCHEDULER = 144, GETSCHEDULER = 145 };
enum { FIFO = 1, RESET_ON_FORK = 0x40000000, HIGHEST = 99 };

__attribute__((weak)) long __ukl_host_shortcut_run_to_completion(long before);
long __ukl_host_shortcut_run_to_completion(long before)
{
	int priority = before >= 0 ? before >> 8 & 0xff : HIGHEST;
	long policy = before >= 0 ? before & 0xff : FIFO | RESET_ON_FORK;
	int was = 0;
	long now, result;

	/* The system call getpriority returns 40 to 1 for the nice values -20 to 19. */
	call(GETPARAM, 0, (long)&was, 0, 0, 0, 0);
	now = (call(GETSCHEDULER, 0, 0, 0, 0, 0, 0) & 0xff) | (long)was << 8 |
	      (40 - call(GETPRIORITY, 0, 0, 0, 0, 0, 0)) << 16;
	result = call(SETSCHEDULER, 0, policy, (long)&priority, 0, 0, 0);
	if (result < 0 || before < 0)
		return result < 0 ? result : now;
	return call(SETPRIORITY, 0, 0, (before >> 16 & 0xff) - 20, 0, 0, 0);
}

__attribute__((weak, alias("__ukl_host_shortcut_run_to_completion")))
long __ukl_shortcut_run_to_completion(long before);
