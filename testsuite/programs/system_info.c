// getrandom, sysinfo, uname, getcwd, umask, times of day, hostname, scheduler parameters, sysconf.
//#Expect-stdout: random
//#Expect-stdout: info
//#Expect-stdout: scheduler
#include "common.h"
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

int main(void) {
    unsigned char a[256] = {0}, b[256] = {0};
    CHECK(getrandom(a, sizeof a, 0) == sizeof a && getrandom(b, sizeof b, 0) == sizeof b);
    CHECK(memcmp(a, b, sizeof a) != 0);
    CHECK(getentropy(a, 200) == 0);
    puts("random");
    struct sysinfo si;
    struct utsname un;
    CHECK(sysinfo(&si) == 0 && si.totalram > 0 && si.procs > 0);
    CHECK(uname(&un) == 0 && strcmp(un.sysname, "Linux") == 0 && strcmp(un.machine, "x86_64") == 0);
    CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= 1 && sysconf(_SC_PAGESIZE) == 4096 && sysconf(_SC_PHYS_PAGES) > 1000);
    mode_t old = umask(0);
    umask(old);
    puts("info");
    CHECK(sched_getscheduler(0) == SCHED_OTHER);
    // A process may always raise its nice value to the maximum.
    CHECK(setpriority(PRIO_PROCESS, 0, 19) == 0 && getpriority(PRIO_PROCESS, 0) == 19);
    struct sched_param sp = {.sched_priority = 0};
    CHECK(sched_setscheduler(0, SCHED_BATCH, &sp) == 0);
    for (int i = 0; i < 100; i++) CHECK(sched_yield() == 0);
    puts("scheduler");
    return PASS;
}
