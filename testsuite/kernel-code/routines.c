// Kernel functions and variables by name: the results are the kernel's, functions that block return, and signals arrive
// meanwhile.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <ukl.h>
#include <unistd.h>

void *vmalloc(unsigned long size);
void vfree(const void *address);
void msleep(unsigned int ms);
int _printk(const char *format, ...);
extern volatile unsigned long jiffies;
extern const char linux_banner[];

UKL_KERNEL_SYMBOL(vmalloc);
UKL_KERNEL_SYMBOL(vfree);
UKL_KERNEL_SYMBOL(msleep);
UKL_KERNEL_SYMBOL(_printk);
UKL_KERNEL_SYMBOL(jiffies);
UKL_KERNEL_SYMBOL(linux_banner);

static volatile int ticks;

static void tick(int sig) {
    (void)sig;
    ticks++;
}

int main(void) {
    unsigned char *memory = vmalloc(1 << 20);
    if ((long)memory >= 0) return 1;
    memset(memory, 7, 1 << 20);
    if (memory[(1 << 20) - 1] != 7) return 2;
    vfree(memory);

    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    struct itimerval timer = {{0, 1000}, {0, 1000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    unsigned long before = jiffies;
    for (int i = 0; i < 20; i++) msleep(5);
    if (jiffies - before < 20) return 3;
    if (ticks < 10) return 4;

    if (strncmp(linux_banner, "Linux version 6.", 16) != 0) return 5;
    _printk("routines: %d %s\n", 42, "from the program");
    puts("routines");
    return 42;
}
