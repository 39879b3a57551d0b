// Words in the red zone survive page faults and handled faults taken right there, and a fault on the very stack page
// that holds the red zone.
//#Expect-stdout: page faults 400
//#Expect-stdout: stack page fault
#include "common.h"

// Fills 14 words below rsp, then touches *rsi; returns how many words changed.
long red_zone_touch(long seed, volatile char *touch);
__asm__(
    ".text\n"
    ".globl red_zone_touch\n"
    ".type red_zone_touch, @function\n"
    "red_zone_touch:\n"
    ".cfi_startproc\n"
    "	mov %rdi, %rdx\n"
    "	.irp off, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112\n"
    "	mov %rdx, -\\off(%rsp)\n"
    "	add $3, %rdx\n"
    "	.endr\n"
    "	movb $1, (%rsi)\n"
    "	xor %eax, %eax\n"
    "	xor %ecx, %ecx\n"
    "	mov %rdi, %rdx\n"
    "	.irp off, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112\n"
    "	cmp %rdx, -\\off(%rsp)\n"
    "	setne %cl\n"
    "	add %rcx, %rax\n"
    "	add $3, %rdx\n"
    "	.endr\n"
    "	ret\n"
    ".cfi_endproc\n"
    ".size red_zone_touch, .-red_zone_touch\n"
    // The same on another stack, whose pages are not there yet: rdx is its top.
    ".globl red_zone_on\n"
    ".type red_zone_on, @function\n"
    "red_zone_on:\n"
    ".cfi_startproc\n"
    "	push %rbp\n"
    ".cfi_adjust_cfa_offset 8\n"
    ".cfi_rel_offset %rbp, 0\n"
    "	mov %rsp, %rbp\n"
    ".cfi_def_cfa_register %rbp\n"
    "	mov %rdx, %rsp\n"
    "	call red_zone_touch\n"
    "	mov %rbp, %rsp\n"
    ".cfi_def_cfa_register %rsp\n"
    "	pop %rbp\n"
    ".cfi_adjust_cfa_offset -8\n"
    ".cfi_restore %rbp\n"
    "	ret\n"
    ".cfi_endproc\n"
    ".size red_zone_on, .-red_zone_on\n"
    ".previous\n");
long red_zone_on(long seed, volatile char *touch, void *top);

static char *locked;

static void unlock(int sig, siginfo_t *si, void *ctx) {
    (void)sig, (void)si, (void)ctx;
    CHECK(mprotect(locked, 4096, PROT_READ | PROT_WRITE) == 0);
}

int main(void) {
    handle(SIGSEGV, unlock, 0);
    int n = 0;
    char *area = SYS(mmap(NULL, 200 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    locked = SYS(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (int i = 0; i < 200; i++, n += 2) {
        CHECK_EQ(red_zone_touch(i * 77, area + i * 4096), 0);
        CHECK(mprotect(locked, 4096, PROT_NONE) == 0);
        CHECK_EQ(red_zone_touch(i * 99, locked), 0);
    }
    printf("page faults %d\n", n);
    for (int i = 0; i < 50; i++) {
        // The stack pointer rests at, around and below a page's edge; every page is absent at first.
        char *stack = SYS(mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        CHECK_EQ(red_zone_on(i, stack, stack + 3 * 4096 - 8 * (i % 20)), 0);
        CHECK(munmap(stack, 4 * 4096) == 0);
    }
    puts("stack page fault");
    return PASS;
}
