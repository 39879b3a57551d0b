// SPDX-License-Identifier: GPL-2.0-only
/* Stands for a program's kernel code while the frame of the module is made. */
#include <linux/module.h>

/* Kernel code that has something to do when it is loaded does it in this. */
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
/* It comes with the image, as the kernel does. */
MODULE_INFO(intree, "Y");
