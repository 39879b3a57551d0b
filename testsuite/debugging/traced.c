/* The program that gdb inspects from outside the machine. A comment marks the lines at which it stops. */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct point {
	int x, y;
};

static int add(int left, int right)
{
	int sum = left + right;
	return sum; /* mark: sum */
}

static void report(const struct point *point, const char *what)
{
	char line[64];
	int total = add(point->x, point->y);
	int length = snprintf(line, sizeof(line), "%s is %d\n", what, total);
	write(1, line, length); /* mark: write */
}

static volatile int seen;

static void handler(int signal)
{
	seen = signal; /* mark: handler */
}

int main(void)
{
	struct point here = { 40, 2 };
	report(&here, "the sum"); /* mark: report */

	signal(SIGUSR1, handler);
	raise(SIGUSR1); /* mark: raise */

	volatile char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	page[0] = 1; /* mark: touch */
	here.y += page[0] - 1;
	return add(here.x, here.y);
}
