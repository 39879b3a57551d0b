// Asynchronous IO both ways: the kernel's (io_setup, io_submit, io_getevents) and POSIX's with its helper threads.
//#Libs: -pthread -lrt
//#Expect-stdout: kernel 16
//#Expect-stdout: posix 8
#include "common.h"
#include <aio.h>
#include <linux/aio_abi.h>

int main(void) {
    const char *name = tmp_path("aio");
    int fd = SYS(open(name, O_RDWR | O_CREAT | O_TRUNC, 0600));
    unlink(name);
    static char data[16][4096];
    aio_context_t ctx = 0;
    CHECK(syscall(SYS_io_setup, 32, &ctx) == 0);
    struct iocb cb[16], *list[16];
    for (int i = 0; i < 16; i++) {
        memset(data[i], 'a' + i, 4096);
        cb[i] = (struct iocb){.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = (uint32_t)fd,
                              .aio_buf = (uintptr_t)data[i], .aio_nbytes = 4096, .aio_offset = i * 4096};
        list[i] = &cb[i];
    }
    CHECK_EQ(syscall(SYS_io_submit, ctx, 16, list), 16);
    struct io_event ev[16];
    int n = 0;
    while (n < 16) {
        long k = syscall(SYS_io_getevents, ctx, 1, 16, ev, NULL);
        CHECK(k > 0);
        for (long i = 0; i < k; i++) CHECK_EQ(ev[i].res, 4096);
        n += (int)k;
    }
    CHECK(syscall(SYS_io_destroy, ctx) == 0);
    printf("kernel %d\n", n);
    struct aiocb posix[8];
    static char copy[8][4096];
    memset(posix, 0, sizeof posix);
    for (int i = 0; i < 8; i++) {
        posix[i].aio_fildes = fd;
        posix[i].aio_buf = copy[i];
        posix[i].aio_nbytes = 4096;
        posix[i].aio_offset = i * 4096;
        CHECK(aio_read(&posix[i]) == 0);
    }
    for (n = 0; n < 8; n++) {
        const struct aiocb *one = &posix[n];
        while (aio_error(one) == EINPROGRESS) aio_suspend(&one, 1, NULL);
        CHECK_EQ(aio_return(&posix[n]), 4096);
        CHECK(copy[n][0] == 'a' + n && copy[n][4095] == 'a' + n);
    }
    printf("posix %d\n", n);
    return PASS;
}
