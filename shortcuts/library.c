/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The functions of ukl.h that are more than a system call or shortcut. */
#include <errno.h>
#include <stdbool.h>
#include <ukl.h>

long __ukl_shortcut_run_to_completion(long before);

int ukl_run_to_completion(bool on)
{
	/*
	 * This thread's scheduling before run to completion was turned on;
	 * negative while it is off.
	 */
	static __thread long before = -1;
	long result;

	if (on == (before >= 0))
		return 0;
	result = __ukl_shortcut_run_to_completion(before);
	if (result < 0) {
		errno = (int)-result;
		return -1;
	}
	before = on ? result : -1;
	return 0;
}
