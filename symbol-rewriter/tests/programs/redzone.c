// Leaf functions with inline system calls, in every shape that compilers produce: data in the red
// zone, flags that are live across the call, numbers from different places.
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static inline __attribute__((always_inline)) long raw(long n, long a, long b, long c)
{
	long result;
	asm volatile("syscall" : "=a"(result) : "0"(n), "D"(a), "S"(b), "d"(c)
		     : "rcx", "r11", "memory");
	return result;
}

// Results on the stack of a leaf: the red zone.
NOINLINE long red_zone_result(void)
{
	struct timespec t[2] = { { 1, 2 }, { 3, 4 } };
	raw(SYS_clock_getres, CLOCK_REALTIME, (long)&t[0], 0);
	return t[0].tv_sec + t[1].tv_sec * 10 + t[1].tv_nsec * 100;
}

NOINLINE long red_zone_array(int from)
{
	volatile long a[12];
	for (int i = 0; i < 12; i++)
		a[i] = from + i;
	long pid = raw(SYS_getpid, 0, 0, 0);
	long sum = 0;
	for (int i = 0; i < 12; i++)
		sum += a[i] * (i + 1);
	return sum + (pid == getpid() ? 0 : 1000000);
}

NOINLINE long red_zone_unknown(long n, int from)
{
	volatile long a[6];
	for (int i = 0; i < 6; i++)
		a[i] = from + i;
	long r = raw(n, 0, 0, 0);
	for (int i = 0; i < 6; i++)
		r -= a[i];
	return r;
}

NOINLINE long red_zone_zero(int fd, int from)
{
	volatile char a[40];
	for (int i = 0; i < 40; i++)
		a[i] = from + i;
	long r = raw(SYS_read, fd, 0, 0);
	for (int i = 0; i < 40; i++)
		r += a[i];
	return r;
}

NOINLINE long in_loop(int n)
{
	volatile int kept = n;
	long sum = 0;
	for (int i = 0; i < n; i++)
		sum += raw(SYS_getppid, 0, 0, 0) == getppid();
	return sum * 10 + kept;
}

NOINLINE long switch_number(int which)
{
	volatile long guard[3] = { 11, 22, 33 };
	long n;
	switch (which) {
	case 0: n = SYS_getpid; break;
	case 1: n = SYS_getppid; break;
	case 2: n = SYS_getuid; break;
	case 3: n = SYS_getgid; break;
	case 4: n = SYS_geteuid; break;
	case 5: n = SYS_getegid; break;
	default: n = 9999;
	}
	long r = raw(n, 0, 0, 0);
	return r + guard[0] + guard[1] + guard[2];
}

// The flags of a comparison, read after the call.
NOINLINE int flags_kept(long a, long b)
{
	int less;
	long result;
	asm volatile("cmp %3, %2\n\tmov $39, %%eax\n\tsyscall\n\tsetl %b0\n\tmovzbl %b0, %0"
		     : "=&q"(less), "=&a"(result) : "r"(a), "r"(b) : "rcx", "r11", "memory", "cc");
	return less;
}

// A branch into the middle, with another number.
NOINLINE long entered(int other)
{
	long result;
	asm volatile("test %1, %1\n\tmov $110, %%eax\n\tjne 1f\n\tmov $39, %%eax\n1:\tsyscall"
		     : "=&a"(result) : "r"(other) : "rcx", "r11", "memory", "cc");
	return result;
}

NOINLINE long xor_zero(int fd)
{
	long result;
	asm volatile("xor %%eax, %%eax\n\tsyscall\n\ttest %%rax, %%rax\n\tjs 1f\n\tinc %%rax\n1:"
		     : "=&a"(result) : "D"(fd), "S"(0), "d"(0) : "rcx", "r11", "memory", "cc");
	return result;
}

NOINLINE long wide_number(void)
{
	long result;
	asm volatile("mov $39, %%rax\n\tsyscall" : "=&a"(result) :: "rcx", "r11", "memory", "cc");
	return result;
}

static int global = 7;
NOINLINE long slid(int *out)
{
	long result, got;
	asm volatile("mov $39, %%eax\n\tmov %2, %1\n\tlea 2(%1), %1\n\tsyscall"
		     : "=&a"(result), "=&r"(got) : "m"(global) : "rcx", "r11", "memory", "cc");
	*out = (int)got;
	return result;
}

NOINLINE long pushed_number(void)
{
	long result;
	asm volatile("lea -128(%%rsp), %%rsp\n\tpush $39\n\tpop %%rax\n\tsyscall\n\t"
		     "lea 128(%%rsp), %%rsp"
		     : "=&a"(result) :: "rcx", "r11", "memory", "cc");
	return result;
}

NOINLINE long two_in_a_row(void)
{
	long a, b;
	asm volatile("mov $39, %%eax\n\tsyscall\n\tmov %%rax, %1\n\tmov $110, %%eax\n\tsyscall"
		     : "=&a"(a), "=&r"(b) :: "rcx", "r11", "memory", "cc");
	return a * (a != b);
}

int main(void)
{
	int out = 0;
	long pid = getpid(), ppid = getppid();
	printf("%ld\n", red_zone_result());
	printf("%ld\n", red_zone_array(3));
	printf("%d\n", red_zone_unknown(SYS_getpid, 1) == pid - 21);
	printf("%ld\n", red_zone_zero(0, 1));
	printf("%ld\n", in_loop(10));
	printf("%d\n", switch_number(0) == pid + 66);
	printf("%d\n", switch_number(1) == ppid + 66);
	printf("%d\n", switch_number(4) == (long)geteuid() + 66);
	printf("%ld\n", switch_number(9));
	printf("%d %d %d\n", flags_kept(1, 2), flags_kept(2, 1), flags_kept(-5, 5));
	printf("%d %d\n", entered(0) == pid, entered(1) == ppid);
	printf("%ld\n", xor_zero(0));
	printf("%d\n", wide_number() == pid);
	printf("%d", slid(&out) == pid);
	printf(" %d\n", out);
	printf("%d\n", pushed_number() == pid);
	printf("%d\n", two_in_a_row() == ppid);
	printf("ok\n");
	return 0;
}
