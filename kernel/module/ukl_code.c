// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module without kernel code. ukl-ld links a program's kernel code into
 * it.
 */
#include <linux/module.h>

/*
 * Kernel code can define this function, which runs when the module is
 * loaded.
 */
int ukl_code_init(void);
int __weak ukl_code_init(void)
{
	return 0;
}

static int __init load(void)
{
	return ukl_code_init();
}
module_init(load);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Kernel code of a UKL program");
/*
 * The module is part of the image, like the kernel, so it must not taint the
 * kernel as out-of-tree.
 */
MODULE_INFO(intree, "Y");
