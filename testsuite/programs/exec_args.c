// Argument pages: 200 KiB of arguments and environment handed from this program to an ordinary one and to itself,
// from a fork, a vfork and a thread. The kernel writes them while the caller's address space is still current.
//#Helper: ring3
//#Libs: -pthread
//#Expect-stdout: ordinary 3
//#Expect-stdout: self 3
#include "common.h"

enum { ARGS = 60, LENGTH = 2000 };
static char *args[ARGS + 8], *env[ARGS + 8];

static unsigned long digest(unsigned long h, const char *s) {
    while (*s) h = (h ^ (unsigned char)*s++) * 1099511628211ul;
    return (h ^ 0xff) * 1099511628211ul;
}

static unsigned long digest_all(char **a, char **e) {
    unsigned long h = 14695981039346656037ul;
    for (; *a; a++) h = digest(h, *a);
    for (; *e; e++) h = digest(h, *e);
    return h;
}

static void *exec_thread(void *path) {
    execve(path, args, env);
    _exit(99);
}

static void run(const char *path, int way, unsigned long want) {
    int fd[2];
    SYS(pipe(fd));
    pid_t pid = way == 1 ? vfork() : fork();
    CHECK(pid != -1);
    if (pid == 0) {
        dup2(fd[1], 1);
        if (way == 2) {
            pthread_t t;
            pthread_create(&t, NULL, exec_thread, (void *)path);
            for (;;) pause();
        }
        execve(path, args, env);
        _exit(99);
    }
    close(fd[1]);
    char text[200] = {0}, expected[100];
    size_t n = 0;
    ssize_t r;
    while ((r = read(fd[0], text + n, sizeof text - 1 - n)) > 0) n += (size_t)r;
    snprintf(expected, sizeof expected, "%d %lx\n", ARGS + 2, want);
    CHECK(strcmp(text, expected) == 0);
    close(fd[0]);
    expect_exit(pid, 0);
}

int main(int argc, char **argv, char **envp) {
    if (argc > 1 && strcmp(argv[1], "args") == 0) {
        printf("%d %lx\n", argc, digest_all(argv + 2, envp));
        return 0;
    }
    char *ring_var = getenv("UKL_EXPECT_RING");
    for (int i = 0; i < ARGS; i++) {
        args[i + 2] = malloc(LENGTH + 1);
        env[i] = malloc(LENGTH + 1);
        memset(args[i + 2], 'a' + i % 26, LENGTH);
        memset(env[i], 'A' + i % 26, LENGTH);
        memcpy(env[i], "V=", 2);
        args[i + 2][LENGTH - i] = env[i][LENGTH - i] = 0;
    }
    args[0] = "program", args[1] = "args";
    unsigned long want = digest_all(args + 2, env);
    for (int way = 0; way < 3; way++) run(helper("ring3"), way, want);
    puts("ordinary 3");
    char var[40];
    if (ring_var) {
        snprintf(var, sizeof var, "UKL_EXPECT_RING=%s", ring_var);
        env[ARGS] = var;
        want = digest_all(args + 2, env);
    }
    for (int way = 0; way < 3; way++) run("/proc/self/exe", way, want);
    puts("self 3");
    return PASS;
}
