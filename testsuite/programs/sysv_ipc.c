// System V shared memory, semaphores and message queues between processes.
//#Expect-stdout: shared memory
//#Expect-stdout: semaphores 2000
//#Expect-stdout: messages 100
#include "common.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

struct message {
    long type;
    int number;
};

static void sem(int id, int by) {
    struct sembuf op = {0, (short)by, SEM_UNDO};
    while (semop(id, &op, 1) == -1) CHECK_EQ(errno, EINTR);
}

int main(void) {
    int shm = SYS(shmget(IPC_PRIVATE, 65536, 0600 | IPC_CREAT));
    int *p = shmat(shm, NULL, 0);
    CHECK(p != (void *)-1);
    int sid = SYS(semget(IPC_PRIVATE, 1, 0600 | IPC_CREAT));
    SYS(semctl(sid, 0, SETVAL, 1));
    int mq = SYS(msgget(IPC_PRIVATE, 0600 | IPC_CREAT));
    pid_t pid[2];
    for (int i = 0; i < 2; i++) {
        pid[i] = SYS(fork());
        if (pid[i]) continue;
        for (int j = 0; j < 1000; j++) {
            sem(sid, -1);
            int seen = *p;
            if (j % 100 == 0) sched_yield();
            *p = seen + 1;
            sem(sid, 1);
        }
        if (i == 0)
            for (int j = 0; j < 100; j++) {
                struct message m = {1 + j % 3, j};
                CHECK(msgsnd(mq, &m, sizeof m.number, 0) == 0);
            }
        // Leaves while holding the semaphore: SEM_UNDO gives it back.
        sem(sid, -1);
        _exit(0);
    }
    int sum = 0, n = 0;
    for (; n < 100; n++) {
        struct message m;
        CHECK(msgrcv(mq, &m, sizeof m.number, 0, 0) == sizeof m.number);
        CHECK_EQ(m.type, 1 + m.number % 3);
        sum += m.number;
    }
    for (int i = 0; i < 2; i++) expect_exit(pid[i], 0);
    CHECK_EQ(semctl(sid, 0, GETVAL), 1);
    CHECK_EQ(sum, 4950);
    puts("shared memory");
    printf("semaphores %d\nmessages %d\n", *p, n);
    CHECK(shmdt(p) == 0 && shmctl(shm, IPC_RMID, NULL) == 0);
    CHECK(semctl(sid, 0, IPC_RMID) == 0 && msgctl(mq, IPC_RMID, NULL) == 0);
    return PASS;
}
