/* Reads the running thread's span record (OTEP 4947). A record that is being written is never taken. */
#ifndef BUTFOR_CONTEXT_H
#define BUTFOR_CONTEXT_H

#define BUTFOR_CONTEXT_READ 255

struct butfor_thread_record {
	__u8 trace_id[16];
	__u8 span_id[8];
	__u8 valid;
	__u8 flags;
	__u16 attributes;
} __attribute__((packed));

/* A task that the verifier knows to be the running one is read by plain loads, without a helper for each. */
static __always_inline __u64 butfor_thread_pointer(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

#if defined(__TARGET_ARCH_arm64)
	return task->thread.uw.tp_value;
#else
	return task->thread.fsbase;
#endif
}

/* The address of the thread's slot, 0 where it has no block for the module yet. */
static __always_inline __u64 butfor_slot_address(const struct butfor_slot *slot)
{
	__u64 pointer = butfor_thread_pointer(), table = 0, block = 0;

	if (!slot->module)
		return pointer + slot->offset;
#if defined(__TARGET_ARCH_arm64)
	if (bpf_probe_read_user(&table, sizeof(table), (void *)pointer))
		return 0;
#else
	if (bpf_probe_read_user(&table, sizeof(table), (void *)(pointer + 8)))
		return 0;
#endif
	if (bpf_probe_read_user(&block, sizeof(block), (void *)(table + (__u64)slot->module * slot->dtv_entry)))
		return 0;
	/* glibc marks a block that is not allocated yet with all ones */
	return block && block != ~0ULL ? block + slot->offset : 0;
}

/* Of the running thread: BUTFOR_CONTEXT_READ, or the reason (enum butfor_context_miss). */
static __always_inline __u8 butfor_read_context(__u32 pid, __u8 *trace_id, __u8 *span_id)
{
	const struct butfor_slot *slot = bpf_map_lookup_elem(&slots, &pid);
	struct butfor_thread_record record = {};
	__u64 address, pointer = 0;

	if (!slot)
		return MISS_NO_SLOT;
	address = butfor_slot_address(slot);
	if (!address)
		return MISS_NULL;
	if (bpf_probe_read_user(&pointer, sizeof(pointer), (void *)address))
		return MISS_FAULT;
	if (!pointer)
		return MISS_NULL;
	if (bpf_probe_read_user(&record, sizeof(record), (void *)pointer))
		return MISS_FAULT;
	if (record.valid != 1)
		return MISS_INVALID;
	__builtin_memcpy(trace_id, record.trace_id, 16);
	__builtin_memcpy(span_id, record.span_id, 8);
	return BUTFOR_CONTEXT_READ;
}

#endif
