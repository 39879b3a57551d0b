// SPDX-License-Identifier: GPL-2.0-only
/*
 * The numbers that the kernel and the linker have to agree on, as the compiler
 * sees them in the built tree.  kernel/build compiles this file to assembly, as
 * Kbuild does with asm-offsets.c, and writes the numbers to the kernel archive's
 * file `abi`.  ukl-ld lays its code out from that file.
 */
#include <linux/entry-common.h>
#include <linux/kbuild.h>
#include <linux/sched.h>
#include <asm/current.h>
#include <asm/elf.h>
#include <asm/ukl.h>

/* To be taken from <asm/ukl.h>. */
#define UKL_ABI_VERSION		1
#define UKL_EF			EF_X86_UKL
#define UKL_THUNK_SIZE		128
#define UKL_THUNK_NUMBER	1
#define UKL_THUNK_RESTART	7
#define UKL_THUNK_SWITCH	33
#define UKL_THUNK_RETURN	48
#define UKL_THUNK_POP		65
#define UKL_THUNK_PRESERVED	127
#define UKL_SHARED_SWITCH	39
#define UKL_SHARED_RETURN	53
#define UKL_EXIT_NUMBER_MASK	0xffffff
#define UKL_EXIT_PRESERVED_SHIFT 24
#define UKL_EXIT_WORK	(EXIT_TO_USER_MODE_WORK | _TIF_UKL_STEP | _TIF_IO_BITMAP |	\
			 _TIF_NEED_FPU_LOAD | _TIF_USER_RETURN_NOTIFY)
#define UKL_POLICY_BYPASS	UKL_BYPASS
#define UKL_POLICY_RETURN_JUMP	UKL_RET
#define UKL_POLICY_SHARED	UKL_SHARED
#define UKL_POLICY_LIMIT_SHIFT	8

/* DEFINE() would expand the name before it makes a string of it. */
#define VALUE(name)	asm volatile("\n.ascii \"->" #name " %0 \"" : : "i" (name))

int main(void);
int main(void)
{
	VALUE(UKL_ABI_VERSION);
	VALUE(UKL_EF);

	COMMENT("The layout of a thunk");
	VALUE(UKL_THUNK_SIZE);
	VALUE(UKL_THUNK_NUMBER);
	VALUE(UKL_THUNK_RESTART);
	VALUE(UKL_THUNK_SWITCH);
	VALUE(UKL_THUNK_RETURN);
	VALUE(UKL_THUNK_POP);
	VALUE(UKL_THUNK_PRESERVED);
	VALUE(UKL_SHARED_SWITCH);
	VALUE(UKL_SHARED_RETURN);
	VALUE(UKL_SHARED_UNDO);

	COMMENT("The word that a thunk passes to entry_UKL_exit");
	VALUE(UKL_EXIT_NUMBER_MASK);
	VALUE(UKL_EXIT_PRESERVED_SHIFT);

	COMMENT("What a thunk reads: struct ukl_cpu; current and its flags");
	OFFSET(UKL_CPU_DELTA, ukl_cpu, delta);
	OFFSET(UKL_CPU_SP, ukl_cpu, sp);
	OFFSET(UKL_CPU_LOW, ukl_cpu, low);
	OFFSET(UKL_CPU_LEFT, ukl_cpu, left);
	OFFSET(UKL_CPU_CURRENT, pcpu_hot, current_task);
	OFFSET(UKL_TASK_FLAGS, task_struct, thread_info.flags);
	VALUE(UKL_EXIT_WORK);

	COMMENT("The policy bits of personality(2)");
	VALUE(UKL_POLICY_BYPASS);
	VALUE(UKL_POLICY_RETURN_JUMP);
	VALUE(UKL_POLICY_SHARED);
	VALUE(UKL_POLICY_LIMIT_SHIFT);
	return 0;
}
