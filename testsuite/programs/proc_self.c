// /proc/self shows this process as it would any other: maps, smaps, exe, cmdline, environ, status, stat, auxv, comm,
// task, fd, mem, and the call a blocked thread is in.
//#Libs: -pthread
//#Args: first second
//#Expect-stdout: maps
//#Expect-stdout: cmdline
//#Expect-stdout: status
//#Expect-stdout: mem
//#Expect-stdout: syscall
#include "common.h"
#include <sys/auxv.h>
#include <sys/prctl.h>

static char text[1 << 20];

static size_t slurp(const char *path) {
    int fd = SYS(open(path, O_RDONLY));
    size_t n = 0;
    for (ssize_t r; (r = SYS(read(fd, text + n, sizeof text - 1 - n))) > 0;) n += (size_t)r;
    close(fd);
    text[n] = 0;
    return n;
}

static int covers(uintptr_t at, const char *want) {
    slurp("/proc/self/maps");
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned long from, to;
        char perms[5], name[300] = "";
        CHECK(sscanf(line, "%lx-%lx %4s %*s %*s %*s %299s", &from, &to, perms, name) >= 3);
        CHECK(to <= 0x7ffffffff000 || from >= 0xffffffffff600000);
        if (at >= from && at < to) return strncmp(perms, want, strlen(want)) == 0;
    }
    return 0;
}

static int gate[2];
static pid_t blocked_tid;
static void *block(void *arg) {
    char c;
    __atomic_store_n(&blocked_tid, gettid(), __ATOMIC_SEQ_CST);
    CHECK(read(gate[0], &c, 1) == 1);
    return arg;
}

int main(int argc, char **argv) {
    static int data = 1;
    int local;
    void *heap = malloc(100);
    CHECK(covers((uintptr_t)&main, "r-x"));
    CHECK(covers((uintptr_t)&data, "rw-p"));
    CHECK(covers((uintptr_t)&local, "rw"));
    CHECK(covers((uintptr_t)heap, "rw"));
    CHECK(covers(getauxval(AT_SYSINFO_EHDR), "r-x"));
    slurp("/proc/self/maps");
    CHECK(strstr(text, "[stack]") && strstr(text, "[vdso]") && strstr(text, "[heap]"));
    CHECK(slurp("/proc/self/smaps") > 0 && strstr(text, "Rss:"));
    puts("maps");
    size_t n = slurp("/proc/self/cmdline");
    char *p = text;
    for (int i = 0; i < argc; i++) {
        CHECK(strcmp(p, argv[i]) == 0);
        p += strlen(p) + 1;
    }
    CHECK_EQ(p - text, n);
    char path[300];
    ssize_t len = SYS(readlink("/proc/self/exe", path, sizeof path - 1));
    path[len] = 0;
    CHECK(access(path, X_OK) == 0);
    CHECK(slurp("/proc/self/environ") > 0);
    CHECK(slurp("/proc/self/auxv") >= 16 * 10);
    puts("cmdline");
    CHECK(prctl(PR_SET_NAME, "renamed") == 0);
    slurp("/proc/self/comm");
    CHECK(strcmp(text, "renamed\n") == 0);
    slurp("/proc/self/status");
    snprintf(path, sizeof path, "Pid:\t%d\n", getpid());
    CHECK(strstr(text, path) && strstr(text, "State:\tR") && strstr(text, "Threads:\t1\n"));
    CHECK(strstr(text, "VmRSS:"));
    slurp("/proc/self/stat");
    CHECK(atoi(text) == getpid() && strstr(text, "(renamed) R"));
    slurp("/proc/self/wchan");
    puts("status");
    int fd = SYS(open("/proc/self/mem", O_RDWR));
    int got = 0, put = 77;
    CHECK(pread(fd, &got, sizeof got, (off_t)(uintptr_t)&data) == sizeof got && got == 1);
    CHECK(pwrite(fd, &put, sizeof put, (off_t)(uintptr_t)&data) == sizeof put && data == 77);
    CHECK(pread(fd, &got, sizeof got, (off_t)0xffffffff81000000) <= 0);
    puts("mem");
    SYS(pipe(gate));
    pthread_t t;
    PT(pthread_create(&t, NULL, block, NULL));
    while (!__atomic_load_n(&blocked_tid, __ATOMIC_SEQ_CST)) sched_yield();
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", blocked_tid);
    long nr = -1;
    unsigned long a, b, c, d, e, f, sp = 0, ip = 0;
    for (int i = 0; i < 2000; i++) {
        slurp(path);
        if (sscanf(text, "%ld %lx %lx %lx %lx %lx %lx %lx %lx", &nr, &a, &b, &c, &d, &e, &f, &sp, &ip) == 9) break;
        usleep(1000);
    }
    CHECK_EQ(nr, SYS_read);
    CHECK_EQ(a, gate[0]);
    CHECK_EQ(c, 1);
    CHECK(sp > 0 && sp < 0x7ffffffff000 && ip > 0 && ip < 0x7ffffffff000);
    CHECK(write(gate[1], "x", 1) == 1);
    PT(pthread_join(t, NULL));
    puts("syscall");
    return PASS;
}
