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

#define TASK_DEAD 0x80

static __always_inline __u32 reason_of(struct task_struct *task, __u32 state)
{
	if (!state)
		return WAIT_RUN_QUEUE;
	return BPF_CORE_READ_BITFIELD_PROBED(task, in_iowait) ? WAIT_IO : WAIT_SLEEP;
}

/* The thread that leaves is still the running one: its ids cost nothing, and its memory can be read. */
static __always_inline void gone(struct task_struct *task)
{
	__u64 ids = bpf_get_current_pid_tgid();
	__u32 pid = ids >> 32, tid = (__u32)ids, state;
	struct butfor_wait *kept, now = {};

	if (!bpf_map_lookup_elem(&targets, &pid))
		return;
	state = BPF_CORE_READ(task, __state);
	if (state & TASK_DEAD) {
		/* its id may be another's soon */
		bpf_map_delete_elem(&waits, &tid);
		return;
	}
	/* most threads have an entry: to write into it is much cheaper than to make one anew each time */
	kept = bpf_map_lookup_elem(&waits, &tid);
	if (butfor_read_context(pid, now.trace_id, now.span_id) != BUTFOR_CONTEXT_READ) {
		/* a return that went unseen must not make an earlier wait last until the end of this one */
		if (kept)
			kept->since_ns = 0;
		return;
	}
	now.since_ns = bpf_ktime_get_ns();
	now.call = call_of_current();
	now.reason = reason_of(task, state);
	if (kept)
		*kept = now;
	else if (bpf_map_update_elem(&waits, &tid, &now, BPF_ANY))
		butfor_count(&losses, LOSS_PENDING_FULL);
}

static __always_inline void back(struct task_struct *task)
{
	__u32 tid = BPF_CORE_READ(task, pid);
	struct butfor_wait *wait = bpf_map_lookup_elem(&waits, &tid);
	struct butfor_event *event;
	__u64 duration;

	if (!wait || !wait->since_ns)
		return;
	duration = bpf_ktime_get_ns() - wait->since_ns;
	wait->since_ns = 0;
	if (duration < off_cpu_ns)
		return;
	event = butfor_begin(KIND_OFF_CPU);
	if (!event)
		return;
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

static __always_inline int switched_over(struct task_struct *from, struct task_struct *to)
{
	gone(from);
	back(to);
	return 0;
}

BUTFOR_ON_TRACEPOINT(switched, sched_switch, switched_over(from, to), bool preempted, struct task_struct *from,
		     struct task_struct *to)
/* Just before it, where the kernel accounts pressure: the loader asks whether it does. */
BUTFOR_ON_FUNCTION(switched, , psi_task_switch, switched_over(from, to), struct task_struct *from, struct task_struct *to)
