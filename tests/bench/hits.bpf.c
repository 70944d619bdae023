/* What parts of a probe cost, each as a program of its own; run through BPF_PROG_TEST_RUN on the thread that asks. */
#include "common.h"

char LICENSE[] SEC("license") = "GPL";

SEC("raw_tp/sys_exit")
int empty(struct bpf_raw_tracepoint_args *ctx)
{
	return 0;
}

SEC("raw_tp/sys_exit")
int filtered(struct bpf_raw_tracepoint_args *ctx)
{
	return butfor_watched();
}

SEC("raw_tp/sys_exit")
int context(struct bpf_raw_tracepoint_args *ctx)
{
	__u8 trace_id[16], span_id[8];

	return butfor_read_context(bpf_get_current_pid_tgid() >> 32, trace_id, span_id) == BUTFOR_CONTEXT_READ;
}

SEC("raw_tp/sys_exit")
int record(struct bpf_raw_tracepoint_args *ctx)
{
	struct butfor_event *event = butfor_begin(KIND_OPEN);

	if (!event)
		return 0;
	butfor_begin_thread(event);
	butfor_end(event);
	return 1;
}

SEC("raw_tp/sys_exit")
int stack(struct bpf_raw_tracepoint_args *ctx)
{
	return bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK) >= 0;
}
