// fork copies on write: data, heap, stack and private mappings part, shared ones and the file offset stay joined.
//#Expect-stdout: parted
//#Expect-stdout: joined
//#Expect-stdout: generations 5
#include "common.h"

static int data = 1;
static char bss[256 * 1024];

int main(void) {
    int local = 1;
    char *heap = malloc(100000);
    char *priv = SYS(mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    char *shared = SYS(mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    const char *name = tmp_path("fork_cow");
    int fd = SYS(open(name, O_RDWR | O_CREAT | O_TRUNC, 0600));
    CHECK(unlink(name) == 0);
    CHECK(ftruncate(fd, 8192) == 0);
    char *file_private = SYS(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    char *file_shared = SYS(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    memset(heap, 'p', 100000);
    memset(priv, 'p', 1 << 20);
    memset(bss, 'p', sizeof bss);
    memset(file_private, 'p', 4096);

    pid_t pid = SYS(fork());
    if (pid == 0) {
        CHECK(data == 1 && local == 1 && heap[99999] == 'p' && priv[12345] == 'p' && file_private[0] == 'p');
        data = local = 2;
        memset(heap, 'c', 100000);
        memset(priv, 'c', 1 << 20);
        memset(bss, 'c', sizeof bss);
        memset(file_private, 'c', 4096);
        memset(shared, 'c', 1 << 20);
        memset(file_shared, 'c', 8192);
        CHECK(write(fd, "12345", 5) == 5);
        _exit(0);
    }
    expect_exit(pid, 0);
    CHECK(data == 1 && local == 1);
    for (int i = 0; i < 100000; i++) CHECK_EQ(heap[i], 'p');
    for (int i = 0; i < 1 << 20; i += 64) CHECK(priv[i] == 'p' && shared[i] == 'c');
    for (size_t i = 0; i < sizeof bss; i++) CHECK_EQ(bss[i], 'p');
    CHECK(file_private[17] == 'p' && file_private[4096] == 'c');
    puts("parted");
    CHECK(memcmp(file_shared, "12345c", 6) == 0);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 5);
    puts("joined");
    fflush(stdout);

    // A chain of forks, each writing before its child does.
    int *count = (int *)shared;
    *count = 0;
    for (int depth = 0; depth < 5; depth++) {
        pid = SYS(fork());
        if (pid) {
            priv[depth] = 'x';
            expect_exit(pid, 10 + depth);
            CHECK(priv[depth] == 'x' && priv[depth + 1] == 'p');
            if (depth) _exit(10 + depth - 1);
            break;
        }
        ++*count;
        priv[depth] = (char)depth;
        if (depth == 4) _exit(14);
    }
    printf("generations %d\n", *count);
    return PASS;
}
