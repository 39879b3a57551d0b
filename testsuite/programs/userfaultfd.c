// userfaultfd: a thread supplies the pages another one faults on, in user code and inside a system call.
//#Libs: -pthread
//#Expect-stdout: supplied 17
#include "common.h"
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>

static int uffd;
static char *area;
static int supplied;

static void *supply(void *arg) {
    static __attribute__((aligned(4096))) char page[4096];
    for (;;) {
        struct uffd_msg msg;
        struct pollfd p = {.fd = uffd, .events = POLLIN};
        if (poll(&p, 1, 20000) != 1 || read(uffd, &msg, sizeof msg) != sizeof msg) return arg;
        CHECK_EQ(msg.event, UFFD_EVENT_PAGEFAULT);
        uintptr_t at = msg.arg.pagefault.address & ~4095ul;
        memset(page, 'a' + (int)((at - (uintptr_t)area) / 4096), sizeof page);
        struct uffdio_copy copy = {.dst = at, .src = (uintptr_t)page, .len = 4096};
        // Counted before the copy, which wakes the one who waits.
        __atomic_add_fetch(&supplied, 1, __ATOMIC_SEQ_CST);
        CHECK(ioctl(uffd, UFFDIO_COPY, &copy) == 0);
    }
}

int main(void) {
    uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (uffd == -1 && errno == EPERM) uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1);
    CHECK(uffd != -1);
    struct uffdio_api api = {.api = UFFD_API};
    CHECK(ioctl(uffd, UFFDIO_API, &api) == 0);
    area = SYS(mmap(NULL, 20 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    struct uffdio_register reg = {.range = {(uintptr_t)area, 20 * 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    CHECK(ioctl(uffd, UFFDIO_REGISTER, &reg) == 0);
    pthread_t t;
    PT(pthread_create(&t, NULL, supply, NULL));
    for (int i = 0; i < 16; i++) CHECK_EQ(((volatile char *)area)[i * 4096 + i], 'a' + i);
    int fd[2];
    SYS(pipe(fd));
    CHECK(write(fd[1], area + 16 * 4096, 10) == 10);
    char text[10];
    CHECK(read(fd[0], text, 10) == 10 && text[0] == 'q');
    printf("supplied %d\n", supplied);
    return PASS;
}
