// The kernel's own tracing sees the program's calls whatever form their sites have, and a uprobe on one of its functions
// fires: int3 and the step over the instruction moved out of line are the program's, not the kernel's.
//#Skip-host: needs root in a machine of its own
//#CFlags: -fno-pie -no-pie
//#Cpus: 1
//#Expect-stdout: 30 enters, 30 exits
//#Expect-stdout: 50 probed
//#Expect-stdout: 50 returns probed
#include "common.h"
#include <sys/mount.h>

static const char *root = "/sys/kernel/tracing";

static int put(const char *file, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, file);
    int fd = open(path, O_WRONLY | O_APPEND);
    if (fd < 0) return -1;
    ssize_t n = write(fd, text, strlen(text));
    close(fd);
    return n == (ssize_t)strlen(text) ? 0 : -1;
}

static char text[1 << 18];
static size_t get(const char *file) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, file);
    int fd = SYS(open(path, O_RDONLY));
    size_t n = 0;
    for (ssize_t r; (r = SYS(read(fd, text + n, sizeof text - 1 - n))) > 0;) n += (size_t)r;
    close(fd);
    text[n] = 0;
    return n;
}

// Lines of the trace that hold both texts.
static int lines_with(const char *a, const char *b) {
    int n = 0;
    char *save;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        n += strstr(line, a) && strstr(line, b);
    return n;
}

__attribute__((noinline, noclone)) long probed(long a) {
    __asm__ volatile("" : "+r"(a));
    return a * 3;
}

int main(void) {
    mount("tracefs", root, "tracefs", 0, NULL);
    char pid[32], comm[64];
    snprintf(pid, sizeof pid, "%d", getpid());
    snprintf(comm, sizeof comm, "-%d ", getpid());
    CHECK(put("set_event_pid", pid) == 0);
    CHECK(put("events/syscalls/sys_enter_getppid/enable", "1") == 0);
    CHECK(put("events/syscalls/sys_exit_getppid/enable", "1") == 0);
    unsigned char *jit = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memcpy(jit, "\xb8\x6e\0\0\0\x0f\x05\xc3", 8);
    for (int i = 0; i < 10; i++) {
        getppid();
        syscall(SYS_getppid);
        ((long (*)(void))(uintptr_t)jit)();
    }
    CHECK(put("events/syscalls/sys_enter_getppid/enable", "0") == 0);
    CHECK(put("events/syscalls/sys_exit_getppid/enable", "0") == 0);
    get("trace");
    int enters = lines_with("sys_getppid(", comm);
    get("trace");
    int exits = lines_with("sys_getppid -> ", comm);
    printf("%d enters, %d exits\n", enters, exits);

    // The offset in the file, from the mapping that holds the function.
    char self[200] = "", line[400], probe[600];
    SYS(readlink("/proc/self/exe", self, sizeof self - 1));
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    unsigned long from, to, at = 0, offset;
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %*s %lx", &from, &to, &offset) == 3 && (uintptr_t)&probed >= from && (uintptr_t)&probed < to)
            at = (uintptr_t)&probed - from + offset;
    fclose(maps);
    CHECK(at != 0);
    snprintf(probe, sizeof probe, "p:battery_in %s:0x%lx\n", self, at);
    CHECK(put("uprobe_events", probe) == 0);
    snprintf(probe, sizeof probe, "r:battery_out %s:0x%lx\n", self, at);
    CHECK(put("uprobe_events", probe) == 0);
    CHECK(put("events/uprobes/battery_in/enable", "1") == 0);
    CHECK(put("events/uprobes/battery_out/enable", "1") == 0);
    for (long i = 0; i < 50; i++) CHECK_EQ(probed(i), i * 3);
    CHECK(put("events/uprobes/battery_in/enable", "0") == 0);
    CHECK(put("events/uprobes/battery_out/enable", "0") == 0);
    get("trace");
    printf("%d probed\n", lines_with("battery_in:", comm));
    get("trace");
    printf("%d returns probed\n", lines_with("battery_out:", comm));
    CHECK(put("uprobe_events", "-:battery_in\n") == 0);
    CHECK(put("uprobe_events", "-:battery_out\n") == 0);
    return PASS;
}
