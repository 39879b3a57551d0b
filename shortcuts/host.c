/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The shortcuts where there is no kernel to call: the system calls themselves.
 * Each has two names: its own, weak, which an image overrules, and the one by
 * which the image's program gets here at ring 3.
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

#define SHORTCUT(number, name) \
	long __ukl_host_shortcut_##name(long a, long b, long c, long d, long e, long f); \
	long __ukl_host_shortcut_##name(long a, long b, long c, long d, long e, long f) \
	{ \
		return call(number, a, b, c, d, e, f); \
	} \
	__attribute__((weak, alias("__ukl_host_shortcut_" #name))) \
	long __ukl_shortcut_##name(long a, long b, long c, long d, long e, long f)

SHORTCUT(0, read);
SHORTCUT(1, write);
SHORTCUT(17, pread64);
SHORTCUT(44, sendto);
SHORTCUT(45, recvfrom);
SHORTCUT(232, epoll_wait);
SHORTCUT(281, epoll_pwait);
