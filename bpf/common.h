/* What every probe does: is this process watched, who is it, which span is it in, write the record. */
#ifndef BUTFOR_COMMON_H
#define BUTFOR_COMMON_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>
#include "event.h"
#include "maps.h"
#include "context.h"
#include "attaching.h"

/* Types reach an object's BTF only through something global; user space takes its dtypes and names from there. */
const struct butfor_event *butfor_export_event __attribute__((unused));
const enum butfor_kind butfor_export_kind __attribute__((unused)) = KIND_NONE;
const enum butfor_join butfor_export_join __attribute__((unused)) = JOIN_NONE;
const enum butfor_loss butfor_export_loss __attribute__((unused)) = LOSS_RING_FULL;
const enum butfor_context_miss butfor_export_miss __attribute__((unused)) = MISS_NO_SLOT;

#define BUTFOR_SECOND 1000000000ULL

static __always_inline void butfor_count(void *counters, __u32 reason)
{
	__u64 *counter = bpf_map_lookup_elem(counters, &reason);

	if (counter)
		*counter += 1;
}

static __always_inline int butfor_watched(void)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

	return bpf_map_lookup_elem(&targets, &pid) != NULL;
}

/* The ids that the process itself sees: those of its innermost pid namespace. */
static __always_inline __u32 butfor_inner(struct pid *pid)
{
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid upid = {};

	bpf_core_read(&upid, sizeof(upid), &pid->numbers[level & 31]);
	return upid.nr;
}

/* Of any task, the one that runs or another. */
static __always_inline void butfor_who(struct butfor_event *event, struct task_struct *task)
{
	event->cgroup = bpf_get_current_cgroup_id();
	event->cpu = bpf_get_smp_processor_id();
	event->pid = BPF_CORE_READ(task, tgid);
	event->tid = BPF_CORE_READ(task, pid);
	event->started_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	event->inner_tid = butfor_inner(BPF_CORE_READ(task, thread_pid));
	event->inner_pid = butfor_inner(BPF_CORE_READ(task, group_leader, thread_pid));
	bpf_get_current_comm(event->comm, sizeof(event->comm));
}

/* Who runs, as far as it never changes in a thread. */
static __always_inline void butfor_know(struct butfor_identity *known)
{
	struct task_struct *task = bpf_get_current_task_btf();

	known->started_ns = task->group_leader->start_boottime;
	known->inner_tid = butfor_inner(task->thread_pid);
	known->inner_pid = butfor_inner(task->group_leader->thread_pid);
	known->tid = task->pid;
}

/* Arguments of the call that the running thread is in, by plain loads: a helper for each costs more than the rest. */
#if defined(__TARGET_ARCH_arm64)
#define BUTFOR_ARGUMENT_1(regs) ((regs)->orig_x0)
#define BUTFOR_ARGUMENT_2(regs) ((regs)->regs[1])
#define BUTFOR_ARGUMENT_3(regs) ((regs)->regs[2])
#else
#define BUTFOR_ARGUMENT_1(regs) ((regs)->di)
#define BUTFOR_ARGUMENT_2(regs) ((regs)->si)
#define BUTFOR_ARGUMENT_3(regs) ((regs)->dx)
#endif

/* A zeroed record with time, kind and who; NULL (and counted) where the ring is full. */
static __always_inline struct butfor_event *butfor_begin(__u32 kind)
{
	struct butfor_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		butfor_count(&losses, LOSS_RING_FULL);
		return NULL;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = bpf_ktime_get_ns();
	event->kind = kind;
	event->call = -1;
	event->descriptor = -1;
	event->user_stack = -1;
	event->kernel_stack = -1;
	return event;
}

static __always_inline void butfor_span(struct butfor_event *event)
{
	event->miss = butfor_read_context(event->pid, event->trace_id, event->span_id);
	if (event->miss == BUTFOR_CONTEXT_READ) {
		event->join = JOIN_THREAD;
		event->miss = 0;
	} else {
		butfor_count(&misses, event->miss);
	}
}

/* For a thread whose identity was kept. One that calls exec takes its leader's id: then it is read anew. */
static __always_inline void butfor_begin_known(struct butfor_event *event, struct butfor_identity *known)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (known->tid != (__u32)task->pid)
		butfor_know(known);
	event->pid = task->tgid;
	event->tid = task->pid;
	event->started_ns = known->started_ns;
	event->inner_pid = known->inner_pid;
	event->inner_tid = known->inner_tid;
	event->cgroup = task->cgroups->dfl_cgrp->kn->id;
	event->cpu = bpf_get_smp_processor_id();
	/* always NUL-padded (set_task_comm) */
	((__u64 *)event->comm)[0] = *(const __u64 *)&task->comm[0];
	((__u64 *)event->comm)[1] = *(const __u64 *)&task->comm[8];
	butfor_span(event);
}

/* Only from a program that runs on the thread it is about. */
static __always_inline void butfor_begin_thread(struct butfor_event *event)
{
	struct butfor_identity known = {};

	butfor_begin_known(event, &known);
}

/* Readers poll: a wake-up per record would cost more than the record. */
static __always_inline void butfor_end(struct butfor_event *event)
{
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

/* The user stack, at most once a second for the same process, call and result. */
static __always_inline void butfor_stack(void *ctx, struct butfor_event *event)
{
	struct butfor_stack_key key = {.pid = event->pid, .call = event->call, .value = event->value};
	__u64 *last = bpf_map_lookup_elem(&stacked, &key), now = event->time_ns;

	if (last && now - *last < BUTFOR_SECOND)
		return;
	/* up to 6.1 the verifier refuses a record's memory as a map's value */
	bpf_map_update_elem(&stacked, &key, &now, BPF_ANY);
	event->user_stack = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	if (event->user_stack < 0)
		butfor_count(&losses, LOSS_STACK);
}

#endif
