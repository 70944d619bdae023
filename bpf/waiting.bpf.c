/* Time that a thread spends off the CPU inside a span, and why. */
#include "common.h"
#include "waiting.h"

/* Shorter waits are not told of. */
const volatile __u64 off_cpu_ns = 10000000;

char LICENSE[] SEC("license") = "GPL";

/* Where and when a thread left the CPU, by host tid: task storage wants a task that the verifier trusts, and the one that
 * comes back is not the running one yet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct butfor_wait);
} waits SEC(".maps");

/* The system call that the running thread is in, -1 where it was preempted in user space. */
static __always_inline __u32 call_of_current(void)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

#if defined(__TARGET_ARCH_arm64)
	return BPF_CORE_READ(regs, syscallno);
#else
	return BPF_CORE_READ(regs, orig_ax);
#endif
}

static __always_inline void gone(void *ctx, struct task_struct *task)
{
	struct butfor_wait now = {};
	__u32 pid = BPF_CORE_READ(task, tgid), tid = BPF_CORE_READ(task, pid);

	if (!bpf_map_lookup_elem(&targets, &pid))
		return;
	if (butfor_read_context(task, pid, now.trace_id, now.span_id) != BUTFOR_CONTEXT_READ)
		return;
	now.since_ns = bpf_ktime_get_ns();
	now.call = call_of_current();
	if (BPF_CORE_READ(task, __state) == 0)
		now.reason = WAIT_RUN_QUEUE;
	else if (BPF_CORE_READ_BITFIELD_PROBED(task, in_iowait))
		now.reason = WAIT_IO;
	else
		now.reason = WAIT_SLEEP;
	if (bpf_map_update_elem(&waits, &tid, &now, BPF_ANY))
		butfor_count(&losses, LOSS_PENDING_FULL);
}

static __always_inline void back(void *ctx, struct task_struct *task)
{
	__u32 tid = BPF_CORE_READ(task, pid);
	struct butfor_wait *wait = bpf_map_lookup_elem(&waits, &tid);
	struct butfor_event *event;
	__u64 duration;

	if (!wait)
		return;
	duration = bpf_ktime_get_ns() - wait->since_ns;
	if (duration >= off_cpu_ns && (event = butfor_begin(KIND_OFF_CPU))) {
		butfor_who(event, task);
		BPF_CORE_READ_STR_INTO(&event->comm, task, comm);
		event->duration_ns = duration;
		event->call = wait->call;
		event->argument[0] = wait->reason;
		__builtin_memcpy(event->trace_id, wait->trace_id, 16);
		__builtin_memcpy(event->span_id, wait->span_id, 8);
		event->join = JOIN_THREAD;
		butfor_end(event);
	}
	bpf_map_delete_elem(&waits, &tid);
}

/* The thread that leaves is still the running one here: its memory can be read. */
SEC("raw_tp/sched_switch")
int switched(struct bpf_raw_tracepoint_args *ctx)
{
	gone(ctx, (struct task_struct *)ctx->args[1]);
	back(ctx, (struct task_struct *)ctx->args[2]);
	return 0;
}
