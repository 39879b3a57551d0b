/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * By this section ukl-ld recognises kernel code, and checks for which kernel
 * archive an object was compiled, because inline functions and structures
 * depend on the configuration.  kernel/build writes the name of the archive.
 */
asm(".pushsection .ukl.kernel_code,\"\",@progbits\n.asciz \"@ARCHIVE@\"\n.popsection");
