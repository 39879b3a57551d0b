// A core dump of a crashing program, of several threads: an ELF core with the registers of each, readable by gdb.
//#Skip-host: the wrapper is a guest's
//#CFlags: -O0 --ukl-debug
//#Libs: -pthread
//#Helper: core_of
//#Run-args: --host-tools --wrap "/ukl/helpers/core_of"
//#Mem: 1G
//#Timeout: 240
//#Stdout-contains: core dumped: signal 11
//#Stdout-contains: Program terminated with signal SIGSEGV
//#Stdout-contains: #0
//#Stdout-contains: in crash (where=0x10) at
//#Stdout-contains: in main () at
//#Stdout-contains: $1 = 4711
//#Stdout-contains: 0x33
//#Stdout-contains: Id
//#Stdout-contains: LWP
//#Stdout-contains: gdb: exit 0
#include "common.h"

static int number = 4711;

static __attribute__((noinline)) void crash(int *where) { *where = number; }

static void *wait_for_ever(void *arg) {
    for (;;) pause();
    return arg;
}

int main(void) {
    pthread_t t;
    PT(pthread_create(&t, NULL, wait_for_ever, NULL));
    sleep_ms(20);
    crash((int *)16);
    return 1;
}
