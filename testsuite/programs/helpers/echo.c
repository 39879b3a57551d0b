// echo PORT: an ordinary process that answers every connection with what it is sent, one at a time, for ever. It is what
// has to keep answering while a ring-0 program beside it misbehaves.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    // The other program uses up the memory; the OOM killer must not choose this one.
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);
    if (fd >= 0 && write(fd, "-1000", 5) != 5) perror("echo: oom_score_adj");
    close(fd);
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    if (bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, 16) < 0) return perror("echo"), 1;
    for (;;) {
        int c = accept(listener, NULL, NULL);
        if (c < 0) continue;
        char text[4096];
        for (ssize_t n; (n = read(c, text, sizeof text)) > 0;)
            if (write(c, text, (size_t)n) != n) break;
        close(c);
    }
}
