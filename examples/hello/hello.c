/* Prints a greeting and the privilege level at which it runs. */
#include <stdio.h>

static unsigned int ring(void)
{
	unsigned short cs;

	__asm__("mov %%cs, %0" : "=r"(cs));
	return cs & 3;
}

int main(int argc, char **argv)
{
	printf("Hello from %s at ring %u!\n", argc > 1 ? argv[1] : "an unmodified C program", ring());
	return 0;
}
