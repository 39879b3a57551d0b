// A system call changes rax, rcx and r11 and nothing else, whichever form its site has: number known, number in a
// register, number zeroed by xor, number pushed and popped; with six arguments; with and without sleeping; and the
// results are those of the call. What lies in the red zone survives too.
//#Expect-stdout: 5 forms, 300 rounds
//#Expect-stdout: six arguments
//#Expect-stdout: red zone kept
#include "common.h"

struct regs {
    long rax, rbx, rdx, rsi, rdi, rbp, r8, r9, r10, r12, r13, r14, r15;
};

// Loads all registers from *rdi, executes the form, stores all registers to *rdi.
#define FORM(name, site)                                                                                        \
    void name(struct regs *);                                                                                   \
    __asm__(".text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n"                                 \
            ".cfi_startproc\n"                                                                                  \
            "push %rbx\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbx, 0\n"                                    \
            "push %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbp, 0\n"                                    \
            "push %r12\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %r12, 0\n"                                    \
            "push %r13\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %r13, 0\n"                                    \
            "push %r14\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %r14, 0\n"                                    \
            "push %r15\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %r15, 0\n"                                    \
            "push %rdi\n.cfi_adjust_cfa_offset 8\n"                                                             \
            "mov (%rdi),%rax\nmov 8(%rdi),%rbx\nmov 16(%rdi),%rdx\nmov 24(%rdi),%rsi\nmov 40(%rdi),%rbp\n"      \
            "mov 48(%rdi),%r8\nmov 56(%rdi),%r9\nmov 64(%rdi),%r10\nmov 72(%rdi),%r12\nmov 80(%rdi),%r13\n"     \
            "mov 88(%rdi),%r14\nmov 96(%rdi),%r15\nmov 32(%rdi),%rdi\n" site "\n"                               \
            "pop %rcx\n.cfi_adjust_cfa_offset -8\n"                                                             \
            "mov %rax,(%rcx)\nmov %rbx,8(%rcx)\nmov %rdx,16(%rcx)\nmov %rsi,24(%rcx)\nmov %rdi,32(%rcx)\n"      \
            "mov %rbp,40(%rcx)\nmov %r8,48(%rcx)\nmov %r9,56(%rcx)\nmov %r10,64(%rcx)\nmov %r12,72(%rcx)\n"     \
            "mov %r13,80(%rcx)\nmov %r14,88(%rcx)\nmov %r15,96(%rcx)\n"                                         \
            "pop %r15\n.cfi_adjust_cfa_offset -8\npop %r14\n.cfi_adjust_cfa_offset -8\n"                        \
            "pop %r13\n.cfi_adjust_cfa_offset -8\npop %r12\n.cfi_adjust_cfa_offset -8\n"                        \
            "pop %rbp\n.cfi_adjust_cfa_offset -8\npop %rbx\n.cfi_adjust_cfa_offset -8\nret\n"                   \
            ".cfi_endproc\n.size " #name ", .-" #name "\n.previous\n")

FORM(form_immediate, "mov $39,%eax\nsyscall");
FORM(form_register, "syscall");
FORM(form_push, "push $39\npop %rax\nsyscall");
FORM(form_jumped, "mov $39,%eax\njmp 1f\n1: syscall");
FORM(form_wide, "mov $39,%rax\nsyscall");
FORM(form_zero, "xor %eax,%eax\nsyscall");
FORM(form_mmap, "mov $9,%eax\nsyscall");
FORM(form_sleep, "mov $35,%eax\nsyscall");

// The site with live data in the red zone: eight words below rsp have to survive the call.
long red_zone_site(long seed);
__asm__(
    ".text\n.globl red_zone_site\n.type red_zone_site, @function\nred_zone_site:\n.cfi_startproc\n"
    ".irp off, 8, 16, 24, 32, 40, 48, 56, 64\n"
    "mov %rdi,-\\off(%rsp)\n"
    "inc %rdi\n"
    ".endr\n"
    "mov $39,%eax\n"
    "syscall\n"
    "xor %eax,%eax\n"
    "sub $8,%rdi\n"
    "xor %ecx,%ecx\n"
    ".irp off, 8, 16, 24, 32, 40, 48, 56, 64\n"
    "cmp %rdi,-\\off(%rsp)\n"
    "setne %cl\n"
    "add %rcx,%rax\n"
    "inc %rdi\n"
    ".endr\n"
    "ret\n.cfi_endproc\n.size red_zone_site, .-red_zone_site\n.previous\n");

static void check(void (*form)(struct regs *), struct regs in, long result) {
    struct regs r = in;
    form(&r);
    CHECK_EQ(r.rax, result);
    in.rax = r.rax;
    CHECK(memcmp(&r, &in, sizeof r) == 0);
}

int main(void) {
    static void (*const forms[])(struct regs *) = {form_immediate, form_register, form_push, form_jumped, form_wide};
    struct regs in;
    long pid = getpid();
    int n = 0;
    for (int i = 0; i < 300; i++, n++) {
        for (int f = 0; f < 5; f++) {
            long *word = (long *)&in;
            for (size_t w = 0; w < sizeof in / 8; w++) word[w] = (long)(0x0101010101010101ul * (w + 1) + (unsigned)i);
            in.rax = SYS_getpid;
            check(forms[f], in, pid);
        }
        struct timespec ts = {0, 1000};
        in.rdi = (long)&ts, in.rsi = 0;
        if (i % 10 == 0) check(form_sleep, in, 0);
        in.rdi = -1;
        check(form_zero, in, -EBADF);
    }
    printf("5 forms, %d rounds\n", n);
    int fd = SYS(memfd_create("six", 0));
    CHECK(ftruncate(fd, 8192) == 0);
    CHECK(pwrite(fd, "page two", 8, 4096) == 8);
    struct regs six = {.rdi = 0x300000000000, .rsi = 4096, .rdx = PROT_READ, .r10 = MAP_SHARED | MAP_FIXED, .r8 = fd,
                       .r9 = 4096, .rbx = 1, .rbp = 2, .r12 = 3, .r13 = 4, .r14 = 5, .r15 = 6};
    check(form_mmap, six, 0x300000000000);
    CHECK(memcmp((char *)0x300000000000, "page two", 8) == 0);
    puts("six arguments");
    for (int i = 0; i < 1000; i++) CHECK_EQ(red_zone_site(i * 1000), 0);
    puts("red zone kept");
    return PASS;
}
