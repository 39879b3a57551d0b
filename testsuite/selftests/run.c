// Runs the programs that its arguments name, one after the other, and tells how each of them ended.
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            execl(argv[i], argv[i], (char *)NULL);
            perror(argv[i]);
            _exit(127);
        }
        int status;
        if (pid == -1 || waitpid(pid, &status, 0) != pid) return 1;
        if (WIFEXITED(status)) printf("%s: status %d\n", argv[i], WEXITSTATUS(status));
        else printf("%s: signal %d\n", argv[i], WTERMSIG(status));
        fflush(stdout);
    }
    return 0;
}
