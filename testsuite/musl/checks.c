// musl executes `hlt` to kill a program whose heap or stack it finds corrupted. A child process tries each case.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// The compiler would warn of all this if it saw it.
static void *hidden(void *p) {
    __asm__("" : "+r"(p));
    return p;
}

static __attribute__((noinline)) void freed_twice(void) {
    char *p = malloc(100), *other = malloc(100);
    void *again = hidden(p);
    free(p);
    free(again);
    free(other);
}

static __attribute__((noinline)) void not_from_malloc(void) {
    static _Alignas(64) char room[256];
    free(hidden(room + 64));
}

static __attribute__((noinline)) void written_behind(void) {
    char *p = malloc(100);
    memset(hidden(p), 'x', 120);
    free(p);
}

// Compiled code calls this if a stack guard was overwritten.
void __stack_chk_fail(void);

static void stack_smashed(void) {
    __stack_chk_fail();
}

static void nothing(void) {
}

static const struct {
    const char *name;
    void (*corrupt)(void);
} ways[] = {
    {"nothing", nothing},
    {"freed_twice", freed_twice},
    {"not_from_malloc", not_from_malloc},
    {"written_behind", written_behind},
    {"stack_smashed", stack_smashed},
};

int main(void) {
    unsigned short cs;

    __asm__("mov %%cs, %0" : "=r"(cs));
    if (getenv("WANT_RING") && (cs & 3) != atoi(getenv("WANT_RING"))) return 3;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int status;
        pid_t pid = fork();
        if (pid < 0) return 1;
        if (pid == 0) {
            ways[i].corrupt();
            _exit(7);
        }
        if (waitpid(pid, &status, 0) != pid) return 2;
        if (WIFEXITED(status)) printf("%s: exit %d\n", ways[i].name, WEXITSTATUS(status));
        else printf("%s: signal %d\n", ways[i].name, WTERMSIG(status));
    }
    return 42;
}
