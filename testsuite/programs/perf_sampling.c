// perf attributes samples to the program: samples of its loop say user mode and show its addresses, also when only
// user mode is sampled; call chains reach main; counts of page faults and context switches work.
//#Skip-host: needs perf events
//#Cpus: 1
//#CFlags: -fno-omit-frame-pointer -fno-pie -no-pie
//#Expect-stdout: faults counted
//#Expect-stdout: samples are the loop's
//#Expect-stdout: chains reach main
#include "common.h"
#include <linux/perf_event.h>
#include <sys/ioctl.h>

static int open_event(struct perf_event_attr *a) {
    a->size = sizeof *a;
    return (int)SYS(syscall(SYS_perf_event_open, a, 0, -1, -1, 0));
}

static volatile unsigned long work;
__attribute__((noinline, noclone)) void spin_here(long ms) {
    int64_t end = now_ns(CLOCK_MONOTONIC) + ms * 1000000;
    while (now_ns(CLOCK_MONOTONIC) < end)
        for (int i = 0; i < 100000; i++) work += (unsigned long)i;
}

// How many samples there are.
static int recorded(struct perf_event_mmap_page *page) {
    char *data = (char *)page + page->data_offset;
    int samples = 0;
    for (uint64_t at = page->data_tail; at < __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);) {
        struct perf_event_header *h = (void *)(data + at % page->data_size);
        at += h->size;
        samples += h->type == PERF_RECORD_SAMPLE;
    }
    return samples;
}

int main(void) {
    struct perf_event_attr faults = {.type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_PAGE_FAULTS};
    int fd = open_event(&faults);
    char *p = SYS(mmap(NULL, 100 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (int i = 0; i < 100; i++) p[i * 4096] = 1;
    long count;
    CHECK(read(fd, &count, sizeof count) == sizeof count && count >= 100 && count < 300);
    close(fd);
    puts("faults counted");

    struct perf_event_attr clock = {
        .type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_CPU_CLOCK, .sample_period = 1000000, .exclude_kernel = 1,
        .sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_CALLCHAIN | PERF_SAMPLE_REGS_USER, .sample_regs_user = 1 << 8,
        .disabled = 1,
    };
    fd = open_event(&clock);
    size_t size = 64 * 4096;
    struct perf_event_mmap_page *page = SYS(mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    CHECK(ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) == 0);
    // A machine that gets little of its host's time takes few samples by its own clock: go on until there are enough.
    for (int i = 0; i < 200 && (i < 3 || recorded(page) < 20); i++) spin_here(100);
    CHECK(ioctl(fd, PERF_EVENT_IOC_DISABLE, 0) == 0);
    uintptr_t from = (uintptr_t)&spin_here, to = from + 1024, main_at = (uintptr_t)&main;
    int samples = 0, inside = 0, reach = 0;
    char *data = (char *)page + page->data_offset;
    for (uint64_t at = page->data_tail; at < __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);) {
        struct perf_event_header *h = (void *)(data + at % page->data_size);
        at += h->size;
        if (h->type != PERF_RECORD_SAMPLE || at % page->data_size < h->size) continue;
        CHECK_EQ(h->misc & PERF_RECORD_MISC_CPUMODE_MASK, PERF_RECORD_MISC_USER);
        uint64_t *word = (uint64_t *)(h + 1), ip = word[0], frames = word[1];
        CHECK(ip < 0x7ffffffff000);
        samples++;
        inside += ip >= from && ip < to;
        for (uint64_t i = 0; i < frames; i++) {
            uint64_t frame = word[2 + i];
            // The walk may end in arbitrary data after the first frame, but it must not show kernel text.
            CHECK(frame < 0xffffffff80000000 || frame >= PERF_CONTEXT_MAX);
            reach += frame >= main_at && frame < main_at + 4096 && i > 0;
        }
    }
    fprintf(stderr, "%d samples, %d inside, %d chains\n", samples, inside, reach);
    CHECK(samples >= 10 && inside * 2 > samples);
    puts("samples are the loop's");
    CHECK(reach * 2 > inside);
    puts("chains reach main");
    return PASS;
}
