// Prints where it runs and its arguments and environment; waits or spins on request.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    unsigned short cs;
    __asm__ volatile("mov %%cs, %0" : "=r"(cs));
    printf("greetings from ring %d\n", cs & 3);
    for (int i = 1; i < argc; i++) printf("argument %d: %s\n", i, argv[i]);
    fflush(stdout);
    if (argc > 1 && !strcmp(argv[1], "wait"))
        for (;;) pause();
    if (argc > 1 && !strcmp(argv[1], "spin"))
        // With a known value in a register, for a test that looks at the processor from outside.
        for (;;) __asm__ volatile("" ::"a"(0x73706e6e696e6721));
    return 42;
}
