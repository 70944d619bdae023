/* CPython's traceback hook: PyTraceBack_Here runs once for each Python frame that an exception passes, caught later or not. */
#include "common.h"
#include "exceptions.h"

char LICENSE[] SEC("license") = "GPL";

/* Layouts by host tgid, for processes whose interpreter is known. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct butfor_python);
} pythons SEC(".maps");

SEC("uprobe")
int raised(struct pt_regs *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct butfor_python *python = bpf_map_lookup_elem(&pythons, &pid);
	__u64 frame = 0, code = 0, instruction = 0;
	struct butfor_event *event;

	if (!python || !butfor_watched())
		return 0;
	if (bpf_probe_read_user(&frame, sizeof(frame), (void *)PT_REGS_PARM1(ctx) + python->frame) ||
	    bpf_probe_read_user(&code, sizeof(code), (void *)frame + python->code) ||
	    bpf_probe_read_user(&instruction, sizeof(instruction), (void *)frame + python->instruction))
		return 0;
	event = butfor_begin(KIND_EXCEPTION);
	if (!event)
		return 0;
	butfor_begin_thread(event);
	event->argument[0] = code;
	event->argument[1] = instruction;
	butfor_end(event);
	return 0;
}
