// The debugger of tracer.h as an ordinary program: tracer trace|watch PROGRAM TICK WATCHED BUFFER (addresses in hex).
#include "../tracer.h"

int main(int argc, char **argv) {
    if (argc != 6 || ring() != 3) return 90;
    struct places p = {strtoul(argv[3], NULL, 16), strtoul(argv[4], NULL, 16), strtoul(argv[5], NULL, 16)};
    if (strcmp(argv[1], "watch") == 0) {
        watchpoint(argv[2], &p);
        fflush(stdout);
        return 0;
    }
    return run_tracer(argv[2], &p);
}
