// SPDX-License-Identifier: GPL-2.0-only
/*
 * brk() and mmap() for --ukl-malloc=kernel: malloc gets its memory from the
 * kernel's page allocator immediately.
 *
 * Linux promises pages, and allocates each by a page fault when it is first
 * touched.  Memory that malloc requests is used soon, so these functions allocate
 * its pages in advance: many in one call, without a fault for each.  The memory
 * remains ordinary process memory: fork copies it on write, and system calls
 * accept its addresses.  A large request gets pages for its beginning only,
 * because the program may never use all of it.
 */
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched.h>

/* The most that is allocated in advance for one request, in bytes. */
#define AT_ONCE (1UL << 20)

/* The kernel's own functions, which no header declares. */
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

/* Whether a mapping is of the kind that malloc requests: private, anonymous, writable. */
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
