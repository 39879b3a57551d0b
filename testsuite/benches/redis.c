// Measures what a redis server spends on a request. This is an ordinary process at ring 3 that starts the server with
// one policy after the other and sends each the same requests, one at a time. For each policy and command it prints the
// server's processor time for a request in nanoseconds, which under `ukl-run --icount` are guest instructions, and the
// requests per second.
//
// redis-client ROUNDS REQUESTS RING3-SERVER WAYS SERVER: the ways with commas between, each a name, `=', and what is
// added to the personality.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// As ukl.h has them.
enum { BYPASS = 0x10000000, RET = 0x20000000, SHARED = 0x40000000, ALL = BYPASS | RET | SHARED };
enum { PORT = 6379, WARM_UP = 500 };

static const struct request {
    const char *name, *text, *reply;
} requests[] = {
    {"SET", "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$3\r\nxyz\r\n", "+OK\r\n"},
    {"GET", "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", "$3\r\nxyz\r\n"},
};

static void must(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "redis-client: error: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static pid_t start(const char *program, int policy) {
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        int now = personality(0xffffffff);
        must(personality((now & ~ALL) | policy) != -1, "personality");
        must(dup2(null, 0) == 0 && dup2(null, 1) == 1, "/dev/null");
        execl(program, program, "--save", "", "--loglevel", "warning", NULL);
        must(0, program);
    }
    return pid;
}

static int reach(pid_t server) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timespec moment = {0, 10000000};
    int one = 1;
    for (int i = 0; i < 3000; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        must(fd >= 0, "socket");
        if (connect(fd, (void *)&at, sizeof at) == 0) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            return fd;
        }
        close(fd);
        must(waitpid(server, NULL, WNOHANG) == 0, "the server has ended");
        nanosleep(&moment, NULL);
    }
    must(0, "the server does not answer");
    return -1;
}

static void ask(int fd, const struct request *what, int count) {
    size_t length = strlen(what->text), wanted = strlen(what->reply);
    char reply[64];
    for (int i = 0; i < count; i++) {
        must(write(fd, what->text, length) == (ssize_t)length, "write");
        must(read(fd, reply, sizeof reply) == (ssize_t)wanted && memcmp(reply, what->reply, wanted) == 0, "the reply");
    }
}

static double seconds(clockid_t clock) {
    struct timespec now;
    must(clock_gettime(clock, &now) == 0, "clock_gettime");
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void measure(const char *way, const char *program, int policy, int count) {
    pid_t server = start(program, policy);
    int fd = reach(server);
    clockid_t cpu;
    must(clock_getcpuclockid(server, &cpu) == 0, "the server's clock");
    ask(fd, &requests[0], 1);
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        ask(fd, &requests[i], WARM_UP);
        double spent = seconds(cpu), from = seconds(CLOCK_MONOTONIC);
        ask(fd, &requests[i], count);
        double took = seconds(CLOCK_MONOTONIC) - from;
        printf("%s|%s|%.1f|%.1f\n", way, requests[i].name, (seconds(cpu) - spent) / count * 1e9, count / took);
    }
    fflush(stdout);
    close(fd);
    kill(server, SIGKILL);
    must(waitpid(server, NULL, 0) == server, "waitpid");
}

int main(int argc, char **argv) {
    must(argc == 6, "usage: redis-client ROUNDS REQUESTS RING3-SERVER WAYS SERVER");
    // The clock is coarse until the guest has calibrated it.
    struct timespec resolution, moment = {0, 50000000};
    for (int i = 0; i < 200 && clock_getres(CLOCK_MONOTONIC, &resolution) == 0 && resolution.tv_nsec != 1; i++)
        nanosleep(&moment, NULL);
    for (int round = atoi(argv[1]); round > 0; round--) {
        measure("ring 3", argv[3], 0, atoi(argv[2]));
        char *ways = strdup(argv[4]), *rest = ways, *way;
        while ((way = strsep(&rest, ","))) {
            char *policy = strchr(way, '=');
            must(policy != NULL, "a way has a policy");
            *policy = 0;
            measure(way, argv[5], (int)strtol(policy + 1, NULL, 16), atoi(argv[2]));
        }
        free(ways);
    }
    return 0;
}
