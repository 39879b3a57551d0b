// inotify reports creation, writing, renaming and removal in a directory, in order.
//#Expect-stdout: create modify close moved_from moved_to delete
#include "common.h"
#include <sys/inotify.h>

int main(void) {
    const char *dir = tmp_path("inotify");
    CHECK(mkdir(dir, 0700) == 0);
    int in = SYS(inotify_init1(0));
    SYS(inotify_add_watch(in, dir, IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVE | IN_DELETE));
    char a[200], b[200];
    snprintf(a, sizeof a, "%s/a", dir);
    snprintf(b, sizeof b, "%s/b", dir);
    int fd = SYS(open(a, O_CREAT | O_WRONLY, 0600));
    CHECK(write(fd, "x", 1) == 1);
    close(fd);
    CHECK(rename(a, b) == 0 && unlink(b) == 0 && rmdir(dir) == 0);
    char buffer[4096] __attribute__((aligned(8)));
    int n = 0;
    const char *sep = "";
    while (n < 6) {
        ssize_t len = read(in, buffer, sizeof buffer);
        CHECK(len > 0);
        for (char *p = buffer; p < buffer + len && n < 6;) {
            struct inotify_event *e = (void *)p;
            printf("%s%s", sep,
                   e->mask & IN_CREATE        ? "create"
                   : e->mask & IN_MODIFY      ? "modify"
                   : e->mask & IN_CLOSE_WRITE ? "close"
                   : e->mask & IN_MOVED_FROM  ? "moved_from"
                   : e->mask & IN_MOVED_TO    ? "moved_to"
                   : e->mask & IN_DELETE      ? "delete"
                                              : "?");
            sep = " ";
            n++;
            p += sizeof *e + e->len;
        }
    }
    puts("");
    return PASS;
}
