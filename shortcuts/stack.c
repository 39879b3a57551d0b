// SPDX-License-Identifier: GPL-2.0-only
/*
 * A second mapping of a thread's stack, in the upper half (--ukl-stack=shared).
 *
 * The part of the stack around the current stack pointer is pinned and mapped
 * again.  Kernel functions can run there: unlike the program's address of
 * the stack, the address in the upper half is valid for a waker in any address
 * space.  The mapping is followed by an unmapped range that reaches as far as the
 * end of all user addresses.  So adding the distance to the stack pointer of any
 * stack above this one leads into the unmapped range, and never to other memory.
 *
 * The program may do anything with its pages, because neither side reads data
 * through its mapping that the other has written.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include <asm/switch_to.h>

static unsigned int stack_size = 64 * 1024;
module_param(stack_size, uint, 0644);
MODULE_PARM_DESC(stack_size, "How much of a thread's stack is shared, in bytes");

struct shared {
	struct ukl_stack stack;
	struct vm_struct *area;
	struct rcu_work free;
	int pinned;
	struct page *pages[];
};

static void free_stack(struct work_struct *work)
{
	struct shared *shared = container_of(to_rcu_work(work), struct shared, free);

	if (shared->area)
		free_vm_area(shared->area);
	if (shared->pinned > 0)
		unpin_user_pages(shared->pages, shared->pinned);
	kfree(shared);
}

/* Another CPU may be unwinding this stack, so wait for an RCU grace period. */
static void release(struct ukl_stack *stack)
{
	struct shared *shared = container_of(stack, struct shared, stack);

	queue_rcu_work(system_wq, &shared->free);
}

static struct shared *make(unsigned long sp)
{
	unsigned long size = PAGE_ALIGN(READ_ONCE(stack_size)), start = 0, end = 0, count;
	struct vm_area_struct *vma;
	struct shared *shared;

	mmap_read_lock(current->mm);
	vma = vma_lookup(current->mm, sp);
	if (vma) {
		end = min(vma->vm_end, PAGE_ALIGN(sp) + size / 4);
		start = max(vma->vm_start, end - size);
	}
	mmap_read_unlock(current->mm);
	size = end - start;
	/*
	 * A kernel function needs THREAD_SIZE, so a smaller part cannot be
	 * used.
	 */
	if (size <= THREAD_SIZE)
		return NULL;
	count = size / PAGE_SIZE;
	shared = kzalloc(struct_size(shared, pages, count), GFP_KERNEL);
	if (!shared)
		return NULL;
	INIT_RCU_WORK(&shared->free, free_stack);
	shared->pinned = pin_user_pages_fast(start, count, FOLL_WRITE | FOLL_LONGTERM,
					     shared->pages);
	shared->area = get_vm_area(TASK_SIZE_MAX - start, VM_SPARSE);
	if (shared->pinned != count || !shared->area)
		goto failed;
	shared->stack = (struct ukl_stack){
		.start = start,
		.size = size,
		.kernel = (unsigned long)shared->area->addr,
		.hole = TASK_SIZE_MAX - start,
		.release = release,
	};
	if (!vm_area_map_pages(shared->area, shared->stack.kernel, shared->stack.kernel + size,
			       shared->pages))
		return shared;
failed:
	queue_rcu_work(system_wq, &shared->free);
	return NULL;
}

static void share_stack(unsigned long sp)
{
	struct shared *shared = make(sp);

	if (!shared) {
		/* Stop trying, because it would fail again for each call. */
		current->personality &= ~UKL_POLICY_SHARED;
		return;
	}
	current->thread.ukl_delta = shared->stack.kernel - shared->stack.start;
	WRITE_ONCE(current->thread.ukl_stack, &shared->stack);
	/*
	 * A context switch also sets this, but this thread may not be switched
	 * for a long time.
	 */
	this_cpu_write(ukl_cpu.delta, current->thread.ukl_delta);
}

/* Called by the module frame when the image's kernel code is loaded. */
int ukl_code_init(void);
int ukl_code_init(void)
{
	ukl_share_stack = share_stack;
	return 0;
}
