// The heap: brk, large and small blocks, threads with arenas, trimming, a limit on the address space.
//#Libs: -pthread
//#Expect-stdout: brk ok
//#Expect-stdout: threads ok
//#Expect-stdout: limit kept
#include "common.h"
#include <malloc.h>
#include <sys/resource.h>

static void *churn(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg;
    struct {
        unsigned char *p;
        size_t size;
    } slot[64] = {0};
    for (int i = 0; i < 8000; i++) {
        int s = (int)((seed = seed * 1103515245 + 12345) >> 16) % 64;
        if (slot[s].p) {
            CHECK(slot[s].p[0] == (unsigned char)s && slot[s].p[slot[s].size - 1] == (unsigned char)s);
            free(slot[s].p);
            slot[s].p = NULL;
        } else {
            slot[s].size = 1 + (seed >> 8) % (i % 100 == 0 ? 400000 : 2000);
            CHECK((slot[s].p = malloc(slot[s].size)) != NULL);
            slot[s].p[0] = slot[s].p[slot[s].size - 1] = (unsigned char)s;
        }
    }
    for (int s = 0; s < 64; s++) free(slot[s].p);
    return NULL;
}

int main(void) {
    char *before = sbrk(0);
    for (int i = 0; i < 50; i++) {
        char *p = sbrk(100000);
        CHECK(p != (void *)-1);
        memset(p, i, 100000);
        CHECK(sbrk(-100000) != (void *)-1);
    }
    CHECK(sbrk(0) == before);
    puts("brk ok");
    pthread_t t[6];
    for (int i = 0; i < 6; i++) PT(pthread_create(&t[i], NULL, churn, (void *)(intptr_t)(i + 1)));
    for (int i = 0; i < 6; i++) PT(pthread_join(t[i], NULL));
    malloc_trim(0);
    puts("threads ok");
    fflush(stdout);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        struct rlimit rl = {64 << 20, 64 << 20};
        CHECK(setrlimit(RLIMIT_AS, &rl) == 0);
        CHECK(malloc(100 << 20) == NULL && errno == ENOMEM);
        CHECK(malloc(1000) != NULL);
        _exit(1);
    }
    expect_exit(pid, 1);
    puts("limit kept");
    return PASS;
}
