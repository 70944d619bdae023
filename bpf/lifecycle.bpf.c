/* Processes: children of watched ones are watched, exec and exit are told of, and so is what killed them. */
#include "common.h"

char LICENSE[] SEC("license") = "GPL";

static __always_inline int forking(struct task_struct *parent, struct task_struct *child)
{
	__u32 from = BPF_CORE_READ(parent, tgid), to = BPF_CORE_READ(child, tgid), one = 1;
	struct butfor_slot *slot, copy;
	struct butfor_event *event;

	if (from == to || !bpf_map_lookup_elem(&targets, &from))
		return 0;
	bpf_map_update_elem(&targets, &to, &one, BPF_ANY);
	slot = bpf_map_lookup_elem(&slots, &from);
	if (slot) {
		/* the kernel refuses a map's value as the value of an update of the same map */
		copy = *slot;
		bpf_map_update_elem(&slots, &to, &copy, BPF_ANY);
	}
	event = butfor_begin(KIND_FORK);
	if (!event)
		return 0;
	butfor_begin_thread(event);
	event->value = to;
	butfor_end(event);
	return 0;
}

BUTFOR_ON_TRACEPOINT(forked, sched_process_fork, forking(parent, child), struct task_struct *parent,
		     struct task_struct *child)
/* What the forking thread does next, whatever the call. */
BUTFOR_ON_FUNCTION(forked, , wake_up_new_task, forking((void *)bpf_get_current_task(), child), struct task_struct *child)

static __always_inline int executing(struct linux_binprm *program)
{
	struct butfor_event *event;
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

	if (!butfor_watched())
		return 0;
	/* another program has another slot, or none */
	bpf_map_delete_elem(&slots, &pid);
	event = butfor_begin(KIND_EXEC);
	if (!event)
		return 0;
	butfor_begin_thread(event);
	bpf_probe_read_kernel_str(event->path, sizeof(event->path), BPF_CORE_READ(program, filename));
	butfor_end(event);
	return 0;
}

BUTFOR_ON_TRACEPOINT(executed, sched_process_exec, executing(program), struct task_struct *task, int before,
		     struct linux_binprm *program)
/* The last that a loader of programs does, when nothing can fail any more. */
BUTFOR_ON_FUNCTION(executed, , finalize_exec, executing(program), struct linux_binprm *program)

static __always_inline int leaving(struct task_struct *task)
{
	struct butfor_event *event;
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

	/* the last thread takes the process with it */
	if (!butfor_watched() || BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	event = butfor_begin(KIND_EXIT);
	if (event) {
		butfor_begin_thread(event);
		event->value = BPF_CORE_READ(task, exit_code);
		event->argument[0] = BPF_CORE_READ(task, signal, group_exit_code);
		butfor_end(event);
	}
	bpf_map_delete_elem(&slots, &pid);
	bpf_map_delete_elem(&targets, &pid);
	return 0;
}

/* A fork that fails gives files back as well: those of a thread that never ran. */
static __always_inline int giving_back(struct task_struct *task)
{
	return BPF_CORE_READ(task, pid) == (pid_t)bpf_get_current_pid_tgid() ? leaving(task) : 0;
}

BUTFOR_ON_TRACEPOINT(exited, sched_process_exit, leaving(task), struct task_struct *task)
/* In do_exit, once the code is known and the thread is counted off, neither of which is true on its entry. */
BUTFOR_ON_FUNCTION(exited, , exit_files, giving_back(task), struct task_struct *task)

static __always_inline int is_fatal(int signal)
{
	/* those whose default ends the process because of a fault or a limit, and SIGKILL */
	return signal == 4 || signal == 6 || signal == 7 || signal == 8 || signal == 9 || signal == 11 || signal == 24 ||
	       signal == 25 || signal == 31;
}

/* When a process ends, each other thread of it is taken down with SIGKILL: nobody sent that one. */
static __always_inline int only_takes_down(int signal)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return signal == 9 && (BPF_CORE_READ(task, signal, group_exit_code) & 0x7f) != 9;
}

static __always_inline int killing(void *ctx, int signal)
{
	struct butfor_event *event;

	if (!is_fatal(signal) || !butfor_watched() || only_takes_down(signal))
		return 0;
	event = butfor_begin(KIND_SIGNAL);
	if (!event)
		return 0;
	butfor_begin_thread(event);
	event->value = signal;
	event->call = 0;
	butfor_stack(ctx, event);
	event->call = -1;
	butfor_end(event);
	return 0;
}

static __always_inline int delivering(void *ctx, int signal, struct k_sigaction *action)
{
	return is_fatal(signal) && !BPF_CORE_READ(action, sa.sa_handler) ? killing(ctx, signal) : 0;
}

BUTFOR_ON_TRACEPOINT(signalled, signal_deliver, delivering(ctx, signal, action), int signal, void *info,
		     struct k_sigaction *action)
/* Where a signal's default takes the whole process down; the calls exit and exit_group shift their code out of the way. */
BUTFOR_ON_FUNCTION(signalled, , do_group_exit, killing((void *)ctx, code & 0x7f), int code)

static __always_inline int marking(__u64 who)
{
	struct task_struct *task = (struct task_struct *)who;
	__u32 pid = who > 0x7fffffff ? BPF_CORE_READ(task, tgid) : (__u32)who;
	struct butfor_event *event;

	if (!bpf_map_lookup_elem(&targets, &pid))
		return 0;
	event = butfor_begin(KIND_OOM_KILL);
	if (!event)
		return 0;
	/* the thread that runs asked for memory; it need not be the victim */
	event->cpu = bpf_get_smp_processor_id();
	event->pid = pid;
	event->tid = pid;
	event->value = 9;
	if (who > 0x7fffffff) {
		event->started_ns = BPF_CORE_READ(task, group_leader, start_boottime);
		BPF_CORE_READ_STR_INTO(&event->comm, task, comm);
	}
	butfor_end(event);
	return 0;
}

/* Up to 6.7 the first argument is the victim's pid, later (72ba14deb40a) its task: no pid is as large as a pointer. */
BUTFOR_ON_TRACEPOINT(victim, mark_victim, marking(who), unsigned long who)
BUTFOR_ON_FUNCTION(victim, , mark_oom_victim, marking((__u64)task), struct task_struct *task)
