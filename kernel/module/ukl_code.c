// SPDX-License-Identifier: GPL-2.0-only
/* Stands for a program's kernel code while the frame of the module is made. */
#include <linux/module.h>

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Kernel code of a UKL program");
/* It comes with the image, as the kernel does. */
MODULE_INFO(intree, "Y");
