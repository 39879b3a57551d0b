// Runs commands one after the other, which are separated by the argument "--", and prints how
// each one ended.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char **command = argv + i;
        while (i < argc && strcmp(argv[i], "--")) i++;
        argv[i] = NULL;
        fflush(stdout);
        pid_t child = fork();
        if (!child) {
            execv(command[0], command);
            perror(command[0]);
            _exit(127);
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child) {
            perror("launch");
            return 1;
        }
        if (WIFSIGNALED(status))
            printf("%s: signal %d\n", command[0], WTERMSIG(status));
        else
            printf("%s: exit %d\n", command[0], WEXITSTATUS(status));
    }
    return 0;
}
