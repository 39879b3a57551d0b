// C++ exceptions: across frames, threads and noexcept-free libraries; from a signal handler out of a fault and out of
// a blocked system call; std::terminate's abort seen by the parent.
//#CFlags: -fnon-call-exceptions -fasynchronous-unwind-tables
//#Libs: -pthread
//#Expect-stdout: plain 1000
//#Expect-stdout: threads 8
//#Expect-stdout: from a fault 20
//#Expect-stdout: from a blocked call 5
//#Expect-stdout: library: vector
//#Expect-stdout: terminated
#include "common.h"

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static int destroyed;
struct Guard {
    ~Guard() { __atomic_add_fetch(&destroyed, 1, __ATOMIC_SEQ_CST); }
};

static __attribute__((noinline)) int deep(int n) {
    Guard g;
    if (n == 0) throw std::runtime_error("bottom");
    return deep(n - 1) + 1;
}

static void on_fault(int, siginfo_t *, void *) { throw std::logic_error("fault"); }
static void on_alarm(int, siginfo_t *, void *) { throw std::logic_error("alarm"); }

static __attribute__((noinline)) int poke(volatile int *p) {
    Guard g;
    return *p;
}

static __attribute__((noinline)) long block() {
    long r;
    // The program's own site, so that the exception's path starts at rewritten code. No object lives here: the
    // compiler takes no asm for something that throws, and would end the program if there were one to destroy.
    __asm__ volatile("mov $34, %%eax\n\tsyscall" : "=a"(r) : : "rcx", "r11", "memory", "cc");
    return r;
}

static void unblock(int sig) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, sig);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int main() {
    int caught = 0;
    for (int i = 0; i < 1000; i++) {
        try {
            deep(i % 30);
        } catch (const std::runtime_error &e) {
            caught += std::string(e.what()) == "bottom";
        }
    }
    printf("plain %d\n", caught);
    int per_thread = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; i++)
        threads.emplace_back([&] {
            int n = 0;
            for (int j = 0; j < 100; j++) {
                try {
                    deep(5);
                } catch (...) {
                    n++;
                }
            }
            if (n == 100) __atomic_add_fetch(&per_thread, 1, __ATOMIC_SEQ_CST);
        });
    for (auto &t : threads) t.join();
    printf("threads %d\n", per_thread);

    handle(SIGSEGV, on_fault, SA_NODEFER);
    caught = 0;
    for (int i = 0; i < 20; i++) {
        int before = destroyed;
        try {
            poke((volatile int *)(uintptr_t)(i * 4));
        } catch (const std::logic_error &) {
            caught += destroyed == before + 1;
        }
    }
    printf("from a fault %d\n", caught);
    handle(SIGALRM, on_alarm, 0);
    caught = 0;
    for (int i = 0; i < 5; i++) {
        struct itimerval soon = {{0, 0}, {0, 20000}};
        setitimer(ITIMER_REAL, &soon, NULL);
        int before = destroyed;
        try {
            Guard g;
            block();
        } catch (const std::logic_error &) {
            unblock(SIGALRM);
            caught += destroyed == before + 1;
        }
    }
    printf("from a blocked call %d\n", caught);
    try {
        std::vector<int> v(3);
        v.at(10) = 1;
    } catch (const std::out_of_range &) {
        puts("library: vector");
    }
    fflush(stdout);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        dup2(open("/dev/null", O_WRONLY), 2);
        throw std::string("nobody catches this");
    }
    expect_signal(pid, SIGABRT);
    puts("terminated");
    return PASS;
}
