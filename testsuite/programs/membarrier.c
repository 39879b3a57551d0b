// membarrier and munmap, which send interrupts into running program code.
//#Libs: -pthread
//#Expect-stdout: 500 barriers
#include "common.h"
#include <linux/membarrier.h>

static int stop;
static void *spin(void *arg) {
    volatile long n = 0;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) n++;
    return arg;
}

int main(void) {
    long have = SYS(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0));
    CHECK(have & MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0);
    CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) == 0);
    pthread_t t[2];
    for (int i = 0; i < 2; i++) PT(pthread_create(&t[i], NULL, spin, NULL));
    int n = 0;
    for (; n < 500; n++) {
        CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0);
        CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) == 0);
        // Unmapping sends TLB shootdowns to the spinning CPUs.
        char *p = SYS(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        p[0] = 1;
        CHECK(munmap(p, 8192) == 0);
    }
    stop = 1;
    for (int i = 0; i < 2; i++) PT(pthread_join(t[i], NULL));
    printf("%d barriers\n", n);
    return PASS;
}
