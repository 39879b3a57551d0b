/* SPDX-License-Identifier: GPL-2.0-only */
/* By this section ukl-ld knows an object of kernel code from one of the program. */
asm(".pushsection .ukl.kernel_code,\"\",@progbits\n.byte 0\n.popsection");
