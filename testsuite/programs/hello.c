// The first thing that has to work.
//#Args: one "two words"
//#Env: UKL_TEST_GREETING=hello
//#Expect-stdout: hello, 3 arguments
//#Expect-stdout: one|two words
#include "common.h"

int main(int argc, char **argv) {
    printf("%s, %d arguments\n", getenv("UKL_TEST_GREETING"), argc);
    printf("%s|%s\n", argv[1], argv[2]);
    return PASS;
}
