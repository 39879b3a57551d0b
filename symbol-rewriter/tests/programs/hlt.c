// A `hlt` kills the program wherever it stands. A handler sees the registers, and can unwind to main.
#define _GNU_SOURCE
#include <execinfo.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

// With 0 each function faults at its hlt, with 1 all but the last return 7.
#define FUNCTION(name, body) \
	asm(".text\n.type " #name ",@function\n" #name ":\n.cfi_startproc\n" \
	    "push %rbx\n.cfi_adjust_cfa_offset 8\n.cfi_offset %rbx,-16\nmov $0x5eed,%ebx\n" \
	    body "\npop %rbx\n.cfi_adjust_cfa_offset -8\n.cfi_restore %rbx\nret\n.cfi_endproc\n" \
	    ".size " #name ",.-" #name "\n"); \
	long name(long)

FUNCTION(after_a_branch, "mov $7,%eax\ntest %rdi,%rdi\njnz 1f\nhlt\n1: nop");
FUNCTION(after_a_comparison, "mov $7,%eax\ncmpq $1,one(%rip)\njne 1f\ncmp %rdi,one(%rip)\nje 1f\nhlt\n1: nop");
FUNCTION(before_much, "mov $7,%eax\ntest %rdi,%rdi\njnz 1f\nhlt\nmov $1,%ecx\nmov $2,%edx\n1: nop");
FUNCTION(in_the_cold, "mov $7,%eax\ntest %rdi,%rdi\njz 2f\n1: jmp 3f\n2: hlt\njmp 1b\nnopw 0(%rax,%rax,1)\n3: nop");
FUNCTION(after_a_call, "mov $7,%eax\ntest %rdi,%rdi\njnz 1f\ncall nothing\nhlt\nmov %rax,%rcx\nnop\n1: nop");
FUNCTION(with_a_loop, "mov $7,%eax\ntest %rdi,%rdi\njnz 1f\nmov $3,%ecx\n2: dec %ecx\nmov %ecx,%edx\njnz 2b\nhlt\n1: nop");

// In a section that ends in hlt.
asm(".section .text.last,\"ax\",@progbits\n.type last,@function\nlast: .cfi_startproc\nhlt\n.cfi_endproc\n"
    ".size last,.-last\n.text\n.type nothing,@function\nnothing: ret\n.size nothing,.-nothing\n"
    ".data\none: .quad 1\n.text\n");
long last(long);

static sigjmp_buf back;
static int times, reached;
static long first;
int main(void);

static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *arg)
{
	(void)arg;
	if (_Unwind_FindEnclosingFunction((void *)(_Unwind_GetIP(context) - 1)) == (void *)main)
		reached = 1;
	return _URC_NO_REASON;
}

static void handler(int n, siginfo_t *info, void *state)
{
	long *registers = (long *)((ucontext_t *)state)->uc_mcontext.gregs;
	// The first time the instruction is retried.
	if (!times++) {
		first = registers[REG_RIP];
		return;
	}
	_Unwind_Backtrace(frame, NULL);
	printf("signal %d code %d address %p, again %d, main %d, rdi %lx\n", n, info->si_code, info->si_addr,
	       first == registers[REG_RIP], reached, (long)registers[REG_RDI]);
	siglongjmp(back, 1);
}

static void __attribute__((noinline)) try(const char *name, long (*function)(long))
{
	int status;
	printf("%s\n", name);
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGILL, SIG_DFL);
		function(0);
		_exit(1);
	}
	waitpid(child, &status, 0);
	printf("killed by %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	times = reached = 0;
	if (!sigsetjmp(back, 1))
		printf("came back with %ld\n", function(0));
	if (function != last)
		printf("else %ld\n", function(1));
}

#define TRY(name) try(#name, name)

int main(void)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	backtrace((void *[1]){ 0 }, 1);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGILL, &action, NULL);
	TRY(after_a_branch);
	TRY(after_a_comparison);
	TRY(before_much);
	TRY(in_the_cold);
	TRY(after_a_call);
	TRY(with_a_loop);
	TRY(last);
	printf("ok\n");
	return 0;
}
