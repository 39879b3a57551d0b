// Says where it runs and what it was given; waits if asked to.
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
    return 42;
}
