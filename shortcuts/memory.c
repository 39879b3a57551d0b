// SPDX-License-Identifier: GPL-2.0-only
/*
 * brk() and mmap() for a program whose malloc is to have its memory from the
 * kernel's page allocator at once (--ukl-malloc=kernel).
 *
 * Linux promises pages, and allocates each when it is touched first, by a fault.
 * What malloc asks for is used soon, so here it comes with its pages: many in one
 * go, without a fault for each.  It stays memory like any other: fork copies it
 * when it is written to, and system calls take its addresses.  Large pieces get
 * pages for their beginning only, as nobody says that all of them is used.
 */
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched.h>

/* No more than this at once, in bytes. */
#define AT_ONCE (1UL << 20)

/* The kernel's own functions, which have no header. */
long __se_sys_brk(unsigned long end);
long __se_sys_mmap(unsigned long addr, unsigned long len, unsigned long prot, unsigned long flags,
		   unsigned long fd, unsigned long off);

long __ukl_shortcut_brk(unsigned long end);
long __ukl_shortcut_brk(unsigned long end)
{
	unsigned long before = READ_ONCE(current->mm->brk);
	long ret = __se_sys_brk(end);

	if (ret > before && before)
		mm_populate(PAGE_ALIGN(before), min(PAGE_ALIGN(ret) - PAGE_ALIGN(before), AT_ONCE));
	return ret;
}

/* What malloc implementations ask for: private, nobody's file, to be written to. */
static bool is_heap(unsigned long prot, unsigned long flags)
{
	return (flags & (MAP_TYPE | MAP_ANONYMOUS)) == (MAP_PRIVATE | MAP_ANONYMOUS) &&
	       !(flags & (MAP_NORESERVE | MAP_STACK | MAP_GROWSDOWN | MAP_HUGETLB)) &&
	       (prot & (PROT_READ | PROT_WRITE)) == (PROT_READ | PROT_WRITE);
}

long __ukl_shortcut_mmap(unsigned long addr, unsigned long len, unsigned long prot,
			 unsigned long flags, unsigned long fd, unsigned long off);
long __ukl_shortcut_mmap(unsigned long addr, unsigned long len, unsigned long prot,
			 unsigned long flags, unsigned long fd, unsigned long off)
{
	long ret = __se_sys_mmap(addr, len, prot, flags, fd, off);

	if (!IS_ERR_VALUE(ret) && is_heap(prot, flags))
		mm_populate(ret, min(PAGE_ALIGN(len), AT_ONCE));
	return ret;
}
