// posix_spawn (clone with CLONE_VM | CLONE_VFORK on a stack of its own) with file actions and attributes, and the
// error of a missing program.
//#Helper: ring3
//#Expect-stdout: spawned 50
//#Expect-stdout: piped: hello from ring 3
//#Expect-stdout: missing: ENOENT
#include "common.h"
#include <spawn.h>

extern char **environ;

int main(void) {
    const char *path = helper("ring3");
    int n = 0;
    for (; n < 50; n++) {
        pid_t pid;
        char *argv[] = {"ring3", "exit", "5", NULL};
        PT(posix_spawn(&pid, path, NULL, NULL, argv, environ));
        expect_exit(pid, 5);
    }
    printf("spawned %d\n", n);
    int fd[2];
    SYS(pipe(fd));
    posix_spawn_file_actions_t fa;
    PT(posix_spawn_file_actions_init(&fa));
    PT(posix_spawn_file_actions_adddup2(&fa, fd[1], 1));
    PT(posix_spawn_file_actions_addclose(&fa, fd[0]));
    posix_spawnattr_t attr;
    PT(posix_spawnattr_init(&attr));
    sigset_t none;
    sigemptyset(&none);
    PT(posix_spawnattr_setsigmask(&attr, &none));
    PT(posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP));
    pid_t pid;
    char *argv[] = {"ring3", "say", "hello from ring 3", NULL};
    PT(posix_spawn(&pid, path, &fa, &attr, argv, environ));
    close(fd[1]);
    char text[100];
    ssize_t len = read(fd[0], text, sizeof text);
    CHECK(len > 0);
    printf("piped: %.*s", (int)len, text);
    expect_exit(pid, 0);
    CHECK_EQ(posix_spawn(&pid, "/nonexistent/program", NULL, NULL, argv, environ), ENOENT);
    puts("missing: ENOENT");
    return PASS;
}
