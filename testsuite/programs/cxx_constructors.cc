// Objects made before main and destroyed behind it, in the right order: by priority, in the order of the file, on first
// use; and what atexit registers in between.
//#Expect-stdout: made: early first second
//#Expect-stdout: on first use
//#Expect-stdout: atexit
//#Expect-stdout: destroyed: second
//#Expect-stdout: destroyed: first
//#Expect-stdout: destroyed: early
#include "common.h"

#include <iostream>
#include <string>

static std::string &made() {
    // Never destroyed: destructors of others use it.
    static auto *text = new std::string;
    return *text;
}

struct Object {
    std::string name;
    explicit Object(const char *n) : name(n) { made() += " " + name; }
    ~Object() { std::cout << "destroyed: " << name << std::endl; }
};

static Object first("first");
static Object early __attribute__((init_priority(1000)))("early");
static Object second("second");

static int lazy() {
    static const int value = (std::cout << "on first use" << std::endl, 7);
    return value;
}

int main() {
    std::cout << "made:" << made() << std::endl;
    CHECK(lazy() + lazy() == 14);
    atexit([] { std::cout << "atexit" << std::endl; });
    // exit() runs all of it, and the status is still the one given.
    exit(PASS);
}
