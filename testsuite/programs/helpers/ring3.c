// An ordinary program, always at ring 3: what the battery execs when it wants one.
//   ring3 exit N | say TEXT | args (prints a digest of argv and envp) | exec PATH ARGS... | sleep MS | status
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int ring(void) {
    unsigned short cs;
    __asm__ volatile("mov %%cs, %0" : "=r"(cs));
    return cs & 3;
}

static unsigned long digest(unsigned long h, const char *s) {
    while (*s) h = (h ^ (unsigned char)*s++) * 1099511628211ul;
    return (h ^ 0xff) * 1099511628211ul;
}

int main(int argc, char **argv, char **envp) {
    if (ring() != 3) {
        fprintf(stderr, "ring3: I am at ring %d\n", ring());
        return 90;
    }
    if (argc < 2) return 91;
    if (!strcmp(argv[1], "exit")) return atoi(argv[2]);
    if (!strcmp(argv[1], "say")) {
        printf("%s\n", argv[2]);
        return 0;
    }
    if (!strcmp(argv[1], "args")) {
        unsigned long h = 14695981039346656037ul;
        for (char **p = argv + 2; *p; p++) h = digest(h, *p);
        for (char **p = envp; *p; p++) h = digest(h, *p);
        printf("%d %lx\n", argc, h);
        return 0;
    }
    if (!strcmp(argv[1], "sleep")) {
        long ms = atol(argv[2]);
        struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
        nanosleep(&ts, NULL);
        return 0;
    }
    if (!strcmp(argv[1], "exec")) {
        execv(argv[2], argv + 2);
        perror("ring3: exec");
        return 92;
    }
    return 93;
}
