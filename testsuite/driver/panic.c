// Panics the kernel through sysrq.
#include <fcntl.h>
#include <unistd.h>

int main(void) {
    int fd = open("/proc/sysrq-trigger", O_WRONLY);
    if (fd < 0 || write(fd, "c", 1) != 1) return 1;
    for (;;) pause();
}
