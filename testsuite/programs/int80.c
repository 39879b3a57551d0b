// Instructions that ring 3 may not execute are the same fault at every ring: `int` through gates that are closed to ring 3,
// among them the 32-bit system call that this kernel does not have, and instructions that change the machine. The bare
// functions end in such an instruction, so the rewriter has no room after it.
//#Skip-host: the build host's kernel may have 32-bit system calls
//#Expect-stdout: killed 20
//#Expect-stdout: caught 20
#include "common.h"

#define FUNCTION(name, instruction) \
    static __attribute__((noinline)) void name(void) { __asm__ volatile(instruction : : "a"(20l), "c"(0x10l), "d"(0l) : "memory"); }

// getpid of 32-bit programs.
FUNCTION(call32, "int $0x80")
FUNCTION(vector129, "int $0x81")
FUNCTION(page_fault, "int $14")
FUNCTION(double_fault, "int $8")
FUNCTION(read_cr3, "mov %%cr3, %%rax")
FUNCTION(read_msr, "rdmsr")
FUNCTION(clear_ts, "clts")
FUNCTION(write_back, "wbinvd")
FUNCTION(interrupts_off, "cli")
FUNCTION(overflow, "int $4")
FUNCTION(invalid_opcode, "int $6")
FUNCTION(protection, "int $13")
FUNCTION(machine_check, "int $18")
FUNCTION(first_device, "int $0x20")
FUNCTION(local_timer, "int $0xec")
FUNCTION(save_state, "xsaves (%%rsp)")

#define BARE(name, instruction) static __attribute__((noinline, noreturn)) void name(void) { __asm__ volatile(instruction : : "a"(20l) : "memory"); __builtin_unreachable(); }

BARE(bare_call32, "int $0x80")
BARE(bare_double_fault, "int $8")
BARE(bare_page_fault, "int $14")
BARE(bare_halt, "hlt")

static void (*const functions[])(void) = {
    call32, vector129, page_fault, double_fault, read_cr3, read_msr, clear_ts, write_back, interrupts_off,
    overflow, invalid_opcode, protection, machine_check, first_device, local_timer, save_state,
    bare_call32, bare_double_fault, bare_page_fault, bare_halt,
};
enum { COUNT = sizeof functions / sizeof *functions };

static sigjmp_buf back;
static void leap(int sig, siginfo_t *si, void *ctx) {
    (void)ctx;
    CHECK_EQ(sig, SIGSEGV);
    CHECK_EQ(si->si_code, SI_KERNEL);
    siglongjmp(back, 1);
}

int main(void) {
    int n;
    for (n = 0; n < COUNT; n++) {
        pid_t pid = SYS(fork());
        if (pid == 0) {
            functions[n]();
            _exit(1);
        }
        expect_signal(pid, SIGSEGV);
    }
    printf("killed %d\n", n);
    fflush(stdout);
    handle(SIGSEGV, leap, 0);
    volatile int i;
    for (i = 0; i < COUNT; i++)
        if (sigsetjmp(back, 1) == 0) {
            functions[i]();
            CHECK(!"reached");
        }
    printf("caught %d\n", i);
    return PASS;
}
