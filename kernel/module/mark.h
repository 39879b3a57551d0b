/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * This section tells ukl-ld which objects are kernel code, and for which kernel
 * archive they were compiled: inline functions and structures depend on the
 * configuration.  kernel/build puts the name of the archive in.
 */
asm(".pushsection .ukl.kernel_code,\"\",@progbits\n.asciz \"@ARCHIVE@\"\n.popsection");
