// SPDX-License-Identifier: GPL-2.0-only
/*
 * The numbers on which the kernel and the linker must agree, as the compiler
 * computes them in the built tree.  Like Kbuild with asm-offsets.c,
 * kernel/build compiles this file to assembly, and writes the numbers to the
 * kernel archive's file `abi`.  ukl-ld lays out its code by that file.
 */
#include <linux/entry-common.h>
#include <linux/kbuild.h>
#include <asm/thread_info.h>
#include <asm/ukl.h>

/* DEFINE() would expand the name before converting it to a string. */
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
	VALUE(UKL_SHARED_POP);
	VALUE(UKL_SHARED_UNDO);

	COMMENT("The word that a thunk passes to entry_UKL_exit");
	VALUE(UKL_EXIT_NUMBER_MASK);
	VALUE(UKL_EXIT_PRESERVED_SHIFT);

	COMMENT("What a thunk reads: struct ukl_cpu, current and its flags");
	VALUE(UKL_CPU_DELTA);
	VALUE(UKL_CPU_SP);
	VALUE(UKL_CPU_LOW);
	VALUE(UKL_CPU_LEFT);
	VALUE(UKL_CPU_CURRENT);
	VALUE(UKL_TASK_FLAGS);
	VALUE(UKL_EXIT_WORK);

	COMMENT("The policy bits of personality(2)");
	VALUE(UKL_POLICY_BYPASS);
	VALUE(UKL_POLICY_RETURN_JUMP);
	VALUE(UKL_POLICY_SHARED);
	VALUE(UKL_POLICY_LIMIT_SHIFT);
	VALUE(UKL_POLICY_LIMIT_MASK);
	VALUE(UKL_POLICY_LIMIT_DEFAULT);
	return 0;
}
