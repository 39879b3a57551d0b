// The program's text loses its permissions while a call blocks. When the call is done, the place where it comes back
// cannot be executed: a SIGSEGV, whose handler gives the permissions back. The call's result arrives as if nothing had
// happened. All code that runs meanwhile, the handler among it, lies in a page of its own.
//#Libs: -pthread
//#Cpus: 2
//#Expect-stdout: read 1 x
//#Expect-stdout: handled
#include "common.h"

struct kernel_sigaction {
    void *handler;
    unsigned long flags;
    void *restorer;
    unsigned long mask;
};

#define SA_RESTORER 0x04000000
extern char __executable_start[], etext[];
static unsigned char *code;

static void emit(const void *bytes, int length) {
    memcpy(code, bytes, length);
    code += length;
}

// mov $value, %register for 64 bits, by the two bytes of the opcode
static void emit_load(const char *opcode, long value) {
    emit(opcode, 2);
    emit(&value, sizeof value);
}

static void emit_syscall(long number, const void *a, long b, long c) {
    emit_load("\x48\xb8", number);   // rax
    emit_load("\x48\xbf", (long)a);  // rdi
    emit_load("\x48\xbe", b);        // rsi
    emit_load("\x48\xba", c);        // rdx
    emit("\x0f\x05", 2);             // syscall
}

// Whether the main thread is blocked. Once it has started the other thread, it blocks only in its read().
static int is_blocked(void) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid());
    int fd = SYS(open(path, O_RDONLY));
    ssize_t n = SYS(read(fd, text, sizeof text - 1));
    close(fd);
    text[n] = 0;
    char *state = strrchr(text, ')');
    CHECK(state != NULL);
    return state[2] == 'S';
}

static void *run_later(void *function) {
    while (!is_blocked()) sched_yield();
    ((void (*)(void))function)();
    return NULL;
}

int main(void) {
    int ends[2];
    SYS(pipe(ends));
    char *text = (char *)((uintptr_t)__executable_start & ~4095ul);
    long size = ((uintptr_t)etext - (uintptr_t)text + 4095) & ~4095ul;
    code = SYS(mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    volatile int *handled = (int *)(code + 4096);
    code[4096 + 100] = 'x';
    const char *byte_to_send = (char *)code + 4096 + 100;

    struct kernel_sigaction action = {code, SA_SIGINFO | SA_RESTORER, NULL, 0};
    emit_load("\x48\xb8", (long)handled);
    emit("\xff\x00", 2);  // incl (%rax)
    emit_syscall(SYS_mprotect, text, size, PROT_READ | PROT_EXEC);
    emit("\xc3", 1);  // ret
    action.restorer = code;
    emit_load("\x48\xb8", SYS_rt_sigreturn);
    emit("\x0f\x05", 2);
    CHECK_EQ(syscall(SYS_rt_sigaction, SIGSEGV, &action, NULL, 8), 0);

    void *thief = code;
    emit_syscall(SYS_mprotect, text, size, PROT_NONE);
    emit_syscall(SYS_write, (void *)(long)ends[1], (long)byte_to_send, 1);
    unsigned char *loop = code;
    emit_syscall(SYS_sched_yield, NULL, 0, 0);
    int back = (int)(loop - (code + 5));
    emit("\xe9", 1);  // jmp
    emit(&back, sizeof back);

    pthread_t thread;
    PT(pthread_create(&thread, NULL, run_later, thief));
    char byte = 0;
    ssize_t n = read(ends[0], &byte, 1);
    printf("read %zd %c\n", n, byte);
    // At ring 3 nothing is executed there before the handler runs either.
    CHECK(*handled >= 1);
    puts("handled");
    return PASS;
}
