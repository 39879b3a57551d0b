// C++ exceptions through frames whose system calls have been rewritten.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

struct Noisy {
	const char *name;
	explicit Noisy(const char *n) : name(n) {}
	~Noisy() { std::printf("~%s\n", name); }
};

static inline long raw(long n, long a = 0, long b = 0, long c = 0)
{
	long result;
	asm volatile("syscall" : "=a"(result) : "0"(n), "D"(a), "S"(b), "d"(c)
		     : "rcx", "r11", "memory");
	return result;
}

__attribute__((noinline)) static int depth(int n)
{
	Noisy noisy("depth");
	long a = raw(SYS_getppid), b = raw(SYS_getuid);
	if (n == 0)
		throw std::runtime_error("bottom");
	int r = depth(n - 1) + (a == getppid()) + (b == getuid());
	raw(SYS_sched_yield);
	return r;
}

static void handler(int) { throw 42; }

template <class T> struct Comdat {
	__attribute__((noinline)) static T call(T n)
	{
		// A site in a COMDAT group, with a number in a register.
		T volatile number = n;
		return raw(number);
	}
};

int main()
{
	try {
		depth(3);
	} catch (const std::exception &e) {
		std::printf("caught %s\n", e.what());
	}
	std::printf("comdat %d\n", Comdat<long>::call(SYS_getpid) == getpid());
	std::printf("comdat %d\n", Comdat<int>::call(SYS_getpid) == getpid());

	struct sigaction action = {};
	action.sa_handler = handler;
	sigaction(SIGALRM, &action, nullptr);
	try {
		alarm(1);
		Noisy noisy("sleeper");
		pause();
	} catch (int n) {
		std::printf("caught %d out of a blocked call\n", n);
	}

	auto answer = std::async(std::launch::async, [] {
		std::this_thread::sleep_for(std::chrono::milliseconds(5));
		throw std::logic_error("from a thread");
		return 1;
	});
	try {
		answer.get();
	} catch (const std::logic_error &e) {
		std::printf("caught %s\n", e.what());
	}
	std::map<std::string, int> words;
	std::istringstream in("a b a c b a");
	for (std::string w; in >> w;)
		words[w]++;
	for (auto &[w, n] : words)
		std::cout << w << ' ' << n << '\n';
	{
		std::ofstream file("/dev/null");
		file << 1.5 << std::endl;
	}
	std::mutex mutex;
	int total = 0;
	std::vector<std::thread> threads;
	for (int i = 0; i < 4; i++)
		threads.emplace_back([&] {
			for (int j = 0; j < 1000; j++) {
				std::lock_guard<std::mutex> lock(mutex);
				total++;
			}
		});
	for (auto &t : threads)
		t.join();
	std::cout << total << std::endl;
	std::puts("ok");
}
