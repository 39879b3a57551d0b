// Prints how many pages of malloc's memory were absent when the program touched them, and checks
// that the memory behaves like any other: zeroed by calloc, accepted by system calls, copied on
// fork.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 2000, SIZE = 2000 };

static char *blocks[BLOCKS];

// A fault would be taken for each. (Linux counts them as faults, too, where mmap made them itself.)
static long absent(const char *from, size_t size) {
    unsigned char there[300];
    size_t start = (size_t)from & ~4095ul, pages = ((size_t)from + size - start + 4095) / 4096;
    if (mincore((void *)start, pages * 4096, there)) exit(9);
    long count = 0;
    for (size_t i = 0; i < pages; i++) count += !(there[i] & 1);
    return count;
}

int main(void) {
    int ends[2];
    long faults = 0;
    for (int i = 0; i < BLOCKS; i++) {
        if (!(blocks[i] = malloc(SIZE))) return 1;
        faults += absent(blocks[i], SIZE);
        memset(blocks[i], i, SIZE);
    }
    char *large = calloc(1, 1 << 20);
    faults += absent(large, 1 << 20);
    for (int i = 0; i < 1 << 20; i++)
        if (large[i]) return 2;
    memset(large, 3, 1 << 20);

    if (pipe(ends) || write(ends[1], blocks[5], 100) != 100 || read(ends[0], blocks[6], 100) != 100) return 3;
    if (memcmp(blocks[5], blocks[6], 100) != 0) return 4;
    pid_t pid = fork();
    if (pid == 0) {
        memset(blocks[7], 0, SIZE);
        large[9] = 0;
        _exit(9);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 9 << 8) return 5;
    if (blocks[7][0] != 7 || large[9] != 3) return 6;
    // More than the program will use.
    char *huge = malloc(1ul << 32);
    if (huge) huge[0] = huge[(1ul << 32) - 1] = 1;
    free(huge);
    for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
    free(large);
    printf("%ld\n", faults);
    return 42;
}
