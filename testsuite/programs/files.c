// Files in /tmp: directories, links, renames, attributes, locks, holes, vectors, splice, copy_file_range, fallocate.
//#Expect-stdout: tree
//#Expect-stdout: locks
//#Expect-stdout: vectors
//#Expect-stdout: spliced 100000
#include "common.h"
#include <dirent.h>
#include <sys/file.h>
#include <sys/uio.h>

int main(void) {
    char dir[100], a[200], b[200], text[200];
    snprintf(dir, sizeof dir, "%s", tmp_path("files"));
    CHECK(mkdir(dir, 0755) == 0 && chdir(dir) == 0);
    for (int i = 0; i < 100; i++) {
        snprintf(a, sizeof a, "file%d", i);
        int fd = SYS(open(a, O_CREAT | O_RDWR | O_EXCL, 0644));
        CHECK(write(fd, a, strlen(a)) == (ssize_t)strlen(a));
        close(fd);
    }
    CHECK(link("file1", "hard") == 0 && symlink("file2", "soft") == 0 && rename("file3", "renamed") == 0);
    struct stat st;
    CHECK(stat("hard", &st) == 0 && st.st_nlink == 2 && st.st_size == 5);
    CHECK(lstat("soft", &st) == 0 && S_ISLNK(st.st_mode));
    CHECK(readlink("soft", text, sizeof text) == 5);
    CHECK(open("file3", O_RDONLY) == -1 && errno == ENOENT);
    CHECK(chmod("file4", 0400) == 0 && stat("file4", &st) == 0 && (st.st_mode & 0777) == 0400);
    int n = 0;
    DIR *d = opendir(".");
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') {
            n++;
            CHECK(unlink(e->d_name) == 0);
        }
    closedir(d);
    CHECK_EQ(n, 102);
    puts("tree");
    fflush(stdout);
    int fd = SYS(open("lock", O_CREAT | O_RDWR, 0600));
    CHECK(flock(fd, LOCK_EX) == 0);
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
    CHECK(fcntl(fd, F_SETLK, &fl) == 0);
    int tried[2];
    SYS(pipe(tried));
    pid_t pid = SYS(fork());
    if (pid == 0) {
        int other = SYS(open("lock", O_RDWR));
        CHECK(flock(other, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
        CHECK(fcntl(other, F_SETLK, &fl) == -1 && (errno == EAGAIN || errno == EACCES));
        CHECK(fcntl(other, F_GETLK, &fl) == 0 && fl.l_pid == getppid());
        fl = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
        CHECK(write(tried[1], "t", 1) == 1);
        CHECK(fcntl(other, F_SETLKW, &fl) == 0);
        _exit(4);
    }
    char c;
    CHECK(read(tried[0], &c, 1) == 1);
    sleep_ms(20);
    fl.l_type = F_UNLCK;
    CHECK(fcntl(fd, F_SETLK, &fl) == 0);
    expect_exit(pid, 4);
    puts("locks");
    struct iovec v[3] = {{"one", 3}, {"two", 3}, {"three", 5}};
    CHECK(pwritev(fd, v, 3, 1 << 20) == 11);
    CHECK(fstat(fd, &st) == 0 && st.st_size == (1 << 20) + 11 && st.st_blocks * 512 < 1 << 20);
    CHECK(pread(fd, text, 20, (1 << 20) - 2) == 13 && memcmp(text, "\0\0onetwothree", 13) == 0);
    CHECK(fallocate(fd, 0, 0, 8192) == 0);
    puts("vectors");
    int pipes[2];
    SYS(pipe(pipes));
    snprintf(b, sizeof b, "copy");
    int out = SYS(open(b, O_CREAT | O_RDWR, 0600));
    CHECK(ftruncate(fd, 0) == 0);
    static char block[100000];
    memset(block, 's', sizeof block);
    CHECK(pwrite(fd, block, sizeof block, 0) == sizeof block);
    off_t at = 0;
    for (ssize_t left = sizeof block; left > 0;) {
        ssize_t r = SYS(splice(fd, &at, pipes[1], NULL, (size_t)(left < 30000 ? left : 30000), 0));
        CHECK(r > 0);
        left -= r;
        while (r > 0) r -= SYS(splice(pipes[0], NULL, out, NULL, (size_t)r, 0));
    }
    memset(block, 0, sizeof block);
    CHECK(pread(out, block, sizeof block, 0) == sizeof block);
    for (size_t i = 0; i < sizeof block; i++) CHECK_EQ(block[i], 's');
    off_t from = 0, to = 0;
    CHECK(ftruncate(out, 0) == 0);
    CHECK(copy_file_range(fd, &from, out, &to, 5000, 0) == 5000);
    CHECK(fstat(out, &st) == 0 && st.st_size == 5000);
    CHECK(unlink("lock") == 0 && unlink("copy") == 0 && chdir("/") == 0 && rmdir(dir) == 0);
    printf("spliced %zu\n", sizeof block);
    return PASS;
}
