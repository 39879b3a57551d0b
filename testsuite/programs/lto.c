// Compiled for link-time optimisation, position-independent, with sections of its own for each function.
//#CFlags: -flto -fPIC -ffunction-sections -fdata-sections
//#Libs: -Wl,--gc-sections -lm
//#Expect-stdout: 2.000 unused=0
#include "common.h"
#include <math.h>

__attribute__((weak)) extern int unused_symbol;

static double root(double x) { return sqrt(x); }

int main(void) {
    volatile double four = 4.0;
    printf("%.3f unused=%d\n", root(four), &unused_symbol != NULL);
    return PASS;
}
