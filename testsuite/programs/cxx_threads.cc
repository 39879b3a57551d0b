// The C++ library's threads: async, promises, condition variables, call_once, shared locks, thread-local objects, and
// exceptions that are carried from one thread to another.
//#Libs: -pthread
//#Cpus: 2
//#Expect-stdout: async 5050
//#Expect-stdout: carried: over
//#Expect-stdout: queue 10000
//#Expect-stdout: once 1, locals made 8, destroyed 8
//#Expect-stdout: readers 8
//#Expect-stdout: timed out
#include "common.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <queue>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static std::atomic<int> made, destroyed;
struct Local {
    std::string text = "a string that needs the heap: " + std::to_string(++made);
    ~Local() { destroyed += text.size() > 20; }
};
static thread_local Local local;

int main() {
    std::vector<std::future<int>> parts;
    for (int i = 0; i < 10; i++)
        parts.push_back(std::async(std::launch::async, [i] {
            int sum = 0;
            for (int n = i * 10 + 1; n <= i * 10 + 10; n++) sum += n;
            return sum;
        }));
    int sum = 0;
    for (auto &part : parts) sum += part.get();
    printf("async %d\n", sum);

    auto failing = std::async(std::launch::async, []() -> int { throw std::runtime_error("over"); });
    try {
        failing.get();
    } catch (const std::runtime_error &error) {
        printf("carried: %s\n", error.what());
    }

    std::mutex mutex;
    std::condition_variable changed;
    std::queue<int> queue;
    bool done = false;
    std::atomic<int> taken{0};
    std::vector<std::thread> takers;
    for (int i = 0; i < 4; i++)
        takers.emplace_back([&] {
            std::unique_lock<std::mutex> lock(mutex);
            for (;;) {
                changed.wait(lock, [&] { return done || !queue.empty(); });
                if (queue.empty()) return;
                queue.pop();
                taken++;
            }
        });
    for (int i = 0; i < 10000; i++) {
        std::lock_guard<std::mutex> lock(mutex);
        queue.push(i);
        changed.notify_one();
    }
    {
        std::lock_guard<std::mutex> lock(mutex);
        done = true;
        changed.notify_all();
    }
    for (auto &taker : takers) taker.join();
    printf("queue %d\n", taken.load());

    std::once_flag flag;
    std::atomic<int> ran{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; i++)
        threads.emplace_back([&] {
            std::call_once(flag, [&] { ran++; });
            CHECK(!local.text.empty());
        });
    for (auto &thread : threads) thread.join();
    printf("once %d, locals made %d, destroyed %d\n", ran.load(), made.load(), destroyed.load());

    // All of them hold it at once, or this does not end.
    std::shared_mutex shared;
    std::atomic<int> inside{0};
    threads.clear();
    for (int i = 0; i < 8; i++)
        threads.emplace_back([&] {
            std::shared_lock<std::shared_mutex> lock(shared);
            inside++;
            while (inside < 8) std::this_thread::yield();
        });
    for (auto &thread : threads) thread.join();
    printf("readers %d\n", inside.load());

    std::promise<void> never;
    if (never.get_future().wait_for(std::chrono::milliseconds(20)) == std::future_status::timeout) puts("timed out");
    return PASS;
}
