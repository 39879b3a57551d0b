// io_uring by its raw system calls: NOPs, reads and writes, a linked chain, timeouts, and a kernel thread that polls
// the queue and works on this process's memory (SQPOLL), with workers for calls that block.
//#Expect-stdout: nop 64
//#Expect-stdout: file 65536
//#Expect-stdout: blocked pipe
//#Expect-stdout: polled 200
#include "common.h"
#include <linux/io_uring.h>

struct ring {
    int fd;
    unsigned *sq_head, *sq_tail, *sq_mask, *sq_array, *sq_flags, *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    unsigned flags;
};

static void set_up(struct ring *r, unsigned entries, unsigned flags) {
    struct io_uring_params p = {.flags = flags, .sq_thread_idle = 50};
    r->fd = (int)SYS(syscall(SYS_io_uring_setup, entries, &p));
    r->flags = flags;
    char *sq = SYS(mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                        r->fd, IORING_OFF_SQ_RING));
    char *cq = SYS(mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_CQ_RING));
    r->sqes = SYS(mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES));
    r->sq_head = (unsigned *)(sq + p.sq_off.head), r->sq_tail = (unsigned *)(sq + p.sq_off.tail);
    r->sq_mask = (unsigned *)(sq + p.sq_off.ring_mask), r->sq_array = (unsigned *)(sq + p.sq_off.array);
    r->sq_flags = (unsigned *)(sq + p.sq_off.flags);
    r->cq_head = (unsigned *)(cq + p.cq_off.head), r->cq_tail = (unsigned *)(cq + p.cq_off.tail);
    r->cq_mask = (unsigned *)(cq + p.cq_off.ring_mask);
    r->cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
}

static void push(struct ring *r, int op, int fd, void *at, unsigned len, uint64_t off, unsigned flags, uint64_t tag) {
    unsigned tail = *r->sq_tail, i = tail & *r->sq_mask;
    struct io_uring_sqe *e = &r->sqes[i];
    memset(e, 0, sizeof *e);
    e->opcode = (uint8_t)op, e->fd = fd, e->addr = (uintptr_t)at, e->len = len, e->off = off;
    e->flags = (uint8_t)flags, e->user_data = tag;
    r->sq_array[i] = i;
    __atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
}

static void enter(struct ring *r, unsigned submit, unsigned wait) {
    unsigned flags = wait ? IORING_ENTER_GETEVENTS : 0;
    if (r->flags & IORING_SETUP_SQPOLL) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (__atomic_load_n(r->sq_flags, __ATOMIC_ACQUIRE) & IORING_SQ_NEED_WAKEUP) flags |= IORING_ENTER_SQ_WAKEUP;
        submit = 0;
    }
    while (syscall(SYS_io_uring_enter, r->fd, submit, wait, flags, NULL, 0) == -1) CHECK_EQ(errno, EINTR);
}

static int pop(struct ring *r, uint64_t *tag) {
    while (__atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE) == *r->cq_head) enter(r, 0, 1);
    struct io_uring_cqe *c = &r->cqes[*r->cq_head & *r->cq_mask];
    int res = c->res;
    *tag = c->user_data;
    __atomic_store_n(r->cq_head, *r->cq_head + 1, __ATOMIC_RELEASE);
    return res;
}

static char out[65536], in[65536];

int main(void) {
    struct ring r;
    uint64_t tag;
    set_up(&r, 64, 0);
    for (uint64_t i = 0; i < 64; i++) push(&r, IORING_OP_NOP, -1, NULL, 0, 0, 0, i + 1);
    enter(&r, 64, 64);
    uint64_t sum = 0;
    for (int i = 0; i < 64; i++) {
        CHECK_EQ(pop(&r, &tag), 0);
        sum += tag;
    }
    CHECK_EQ(sum, 64 * 65 / 2);
    puts("nop 64");
    const char *name = tmp_path("io_uring");
    int fd = SYS(open(name, O_RDWR | O_CREAT | O_TRUNC, 0600));
    unlink(name);
    for (size_t i = 0; i < sizeof out; i++) out[i] = (char)(i * 13);
    push(&r, IORING_OP_WRITE, fd, out, sizeof out, 0, IOSQE_IO_LINK, 1);
    push(&r, IORING_OP_FSYNC, fd, NULL, 0, 0, IOSQE_IO_LINK, 2);
    push(&r, IORING_OP_READ, fd, in, sizeof in, 0, IOSQE_ASYNC, 3);
    enter(&r, 3, 3);
    int got = 0;
    for (int i = 0; i < 3; i++) {
        int res = pop(&r, &tag);
        if (tag != 2) CHECK_EQ(res, sizeof out);
        if (tag == 3) got = res;
    }
    CHECK(memcmp(in, out, sizeof in) == 0);
    printf("file %d\n", got);
    int p[2];
    SYS(pipe(p));
    push(&r, IORING_OP_READ, p[0], in, 5, 0, IOSQE_ASYNC, 7);
    enter(&r, 1, 0);
    sleep_ms(20);
    CHECK(write(p[1], "hello", 5) == 5);
    CHECK(pop(&r, &tag) == 5 && tag == 7 && memcmp(in, "hello", 5) == 0);
    push(&r, IORING_OP_READ, p[0], (void *)0xffffffff81000000, 5, 0, 0, 8);
    CHECK(write(p[1], "hello", 5) == 5);
    enter(&r, 1, 1);
    CHECK(pop(&r, &tag) == -EFAULT && tag == 8);
    puts("blocked pipe");
    struct ring q;
    set_up(&q, 16, IORING_SETUP_SQPOLL);
    for (int i = 0; i < 200; i++) {
        push(&q, IORING_OP_WRITE, fd, out + i, 64, (uint64_t)i * 64, 0, (uint64_t)i);
        enter(&q, 1, 1);
        CHECK(pop(&q, &tag) == 64 && tag == (uint64_t)i);
        char text[64];
        CHECK(pread(fd, text, 64, i * 64) == 64 && memcmp(text, out + i, 64) == 0);
    }
    puts("polled 200");
    return PASS;
}
