// Calls that pin the program's pages instead of copying: O_DIRECT, vmsplice, registered io_uring buffers, MSG_ZEROCOPY,
// fork with pinned pages.
//#Expect-stdout: vmspliced 65536
//#Expect-stdout: registered
//#Expect-stdout: zero copy
//#Expect-stdout: direct
#include "common.h"
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif

int main(void) {
    static __attribute__((aligned(4096))) char page[16 * 4096], copy[16 * 4096];
    for (size_t i = 0; i < sizeof page; i++) page[i] = (char)(i * 11);
    int p[2];
    SYS(pipe(p));
    struct iovec v = {page, sizeof page};
    size_t n = 0;
    while (v.iov_len > 0) {
        ssize_t r = SYS(vmsplice(p[1], &v, 1, 0));
        for (ssize_t left = r; left > 0;) {
            ssize_t got = SYS(read(p[0], copy + n, (size_t)left));
            left -= got;
            n += (size_t)got;
        }
        v.iov_base = (char *)v.iov_base + r;
        v.iov_len -= (size_t)r;
    }
    CHECK(memcmp(page, copy, sizeof page) == 0);
    printf("vmspliced %zu\n", n);

    struct io_uring_params params = {0};
    int ring_fd = (int)SYS(syscall(SYS_io_uring_setup, 8, &params));
    v = (struct iovec){page, sizeof page};
    CHECK(syscall(SYS_io_uring_register, ring_fd, IORING_REGISTER_BUFFERS, &v, 1) == 0);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        // The child's copy of a pinned page is a copy at once; ours stays where it is pinned.
        page[0] = 99;
        _exit(page[1] == 11);
    }
    page[100] = 5;
    expect_exit(pid, 1);
    CHECK(page[0] == 0 && page[100] == 5);
    CHECK(syscall(SYS_io_uring_register, ring_fd, IORING_UNREGISTER_BUFFERS, NULL, 0) == 0);
    puts("registered");

    int listener = SYS(socket(AF_INET, SOCK_STREAM, 0)), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    SYS(bind(listener, (struct sockaddr *)&a, sizeof a));
    SYS(listen(listener, 1));
    SYS(getsockname(listener, (struct sockaddr *)&a, &len));
    int out = SYS(socket(AF_INET, SOCK_STREAM, 0));
    SYS(connect(out, (struct sockaddr *)&a, sizeof a));
    int in = SYS(accept(listener, NULL, NULL));
    int zero = setsockopt(out, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one) == 0 ? MSG_ZEROCOPY : 0;
    CHECK(zero || !in_guest());
    CHECK(send(out, page, sizeof page, zero) > 0);
    n = 0;
    while (n < 4096) {
        ssize_t r = SYS(read(in, copy + n, sizeof copy - n));
        n += (size_t)r;
    }
    CHECK(memcmp(page, copy, n) == 0);
    puts("zero copy");

    const char *name = tmp_path("direct");
    // A file system without direct access says EINVAL; then the ordinary way is what is left to try.
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
    CHECK(fd != -1 || !in_guest());
    if (fd == -1) fd = SYS(open(name, O_RDWR | O_CREAT | O_TRUNC, 0600));
    unlink(name);
    CHECK(write(fd, page, sizeof page) == sizeof page);
    memset(copy, 0, sizeof copy);
    CHECK(pread(fd, copy, sizeof copy, 0) == sizeof copy);
    CHECK(memcmp(page, copy, sizeof page) == 0);
    puts("direct");
    return PASS;
}
