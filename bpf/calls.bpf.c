/* System calls that fail, are slow, or wait in vain: one program for each end of a call, in every watched process. */
#include "sockets.h"
#include "calls.h"

/* What a system call number means here; filled by the loader for the machine's architecture. */
const volatile __u8 call_kinds[BUTFOR_CALLS] = {};
const volatile __u32 close_call = 0;
/* A call that takes longer is told of even if it succeeds, where a span is active. */
const volatile __u64 slow_ns = 50000000;

char LICENSE[] SEC("license") = "GPL";

/* When and with what a thread entered its call. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct butfor_pending);
} pending SEC(".maps");

static __always_inline int failed(__s64 value)
{
	/* not failures: would block, in progress, interrupted, and the kernel's own restart codes */
	return value < 0 && value >= -4095 && value != -11 && value != -115 && value != -114 && value != -4 &&
	       !(value <= -512 && value >= -516);
}

static __always_inline int on_descriptor(__u8 kind)
{
	return kind >= KIND_CONNECT && kind <= KIND_SO_ERROR && kind != KIND_OPEN;
}

static __always_inline void abandon(void *ctx, struct task_struct *task, int descriptor, struct butfor_pending *pend)
{
	struct sock *sk = butfor_sock_of(task, descriptor);
	struct butfor_socket *known;
	struct butfor_event *event;
	__u64 key = (__u64)sk;

	if (!sk || !butfor_is_tcp(sk))
		return;
	known = bpf_map_lookup_elem(&sockets, &key);
	if (!known || known->closed || known->client != BUTFOR_CONNECTED || !known->sent_ns)
		return;
	/* an answer was due, none came, and the thread's wait ran out since: the client gives up */
	if (butfor_received(sk) != known->received_then || pend->expired_ns < known->sent_ns)
		return;
	event = butfor_begin(KIND_ABANDON);
	if (!event)
		return;
	butfor_begin_thread(event);
	event->call = close_call;
	event->duration_ns = event->time_ns - known->sent_ns;
	event->descriptor = descriptor;
	butfor_describe(event, sk);
	if (event->join == JOIN_NONE) {
		__builtin_memcpy(event->trace_id, known->trace_id, 16);
		__builtin_memcpy(event->span_id, known->span_id, 8);
		event->join = JOIN_SOCKET;
	}
	butfor_stack(ctx, event);
	butfor_end(event);
}

/* A watched thread keeps something, and is found by that: the map of processes is asked now and then. */
static __always_inline struct butfor_pending *pending_of(struct task_struct *task)
{
	struct butfor_pending *pend = bpf_task_storage_get(&pending, task, 0, 0);
	__u64 now;

	if (!pend) {
		if (!butfor_watched())
			return NULL;
		pend = bpf_task_storage_get(&pending, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (!pend) {
			butfor_count(&losses, LOSS_PENDING_FULL);
			return NULL;
		}
	}
	now = bpf_ktime_get_ns();
	if (now - pend->asked_ns > BUTFOR_ASK_NS) {
		if (!butfor_watched())
			return NULL;
		pend->asked_ns = now;
	}
	pend->since_ns = now;
	return pend;
}

/* The registers are read where they are needed: most calls end before. */
static __always_inline int entering(unsigned long long *ctx, __u64 call)
{
	struct task_struct *task;
	struct butfor_pending *pend;

	if (call >= BUTFOR_CALLS || call_kinds[call] == KIND_NONE)
		return 0;
	task = bpf_get_current_task_btf();
	pend = pending_of(task);
	if (!pend)
		return 0;
	pend->call = call;
	if (call == close_call)
		abandon(ctx, task, (int)PT_REGS_PARM1_CORE_SYSCALL((struct pt_regs *)ctx[0]), pend);
	return 0;
}

BUTFOR_ON_TRACEPOINT(enter, sys_enter, entering(ctx, call), struct pt_regs *regs, unsigned long call)

static __always_inline void arguments(struct butfor_event *event, __u8 kind, struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	event->argument[0] = BUTFOR_ARGUMENT_2(regs);
	event->argument[1] = BUTFOR_ARGUMENT_3(regs);
	if (kind == KIND_OPEN)
		bpf_probe_read_user_str(event->path, sizeof(event->path), (void *)event->argument[0]);
	else if (on_descriptor(kind) || kind == KIND_CLOSE)
		event->descriptor = BUTFOR_ARGUMENT_1(regs);
}

/* An event loop reads for whoever sent: where the thread works for nobody, the span that last used the socket is told. */
static __always_inline void last_user(struct butfor_event *event, struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct butfor_socket *known = event->join == JOIN_NONE && butfor_is_tcp(sk) ? bpf_map_lookup_elem(&sockets, &key) : NULL;

	if (!known || (!known->trace_id[0] && !known->trace_id[1] && !known->trace_id[2] && !known->trace_id[3]))
		return;
	__builtin_memcpy(event->trace_id, known->trace_id, 16);
	__builtin_memcpy(event->span_id, known->span_id, 8);
	event->join = JOIN_SOCKET;
}

static __always_inline void socket_of(struct butfor_event *event, __u8 kind, struct task_struct *task, struct pt_regs *regs)
{
	struct sock *sk;

	if (!on_descriptor(kind))
		return;
	sk = butfor_sock_of(task, event->descriptor);
	if (sk) {
		butfor_describe(event, sk);
		last_user(event, sk);
	}
	if (kind == KIND_CONNECT)
		butfor_describe_wanted(event, (void *)PT_REGS_PARM2_CORE_SYSCALL(regs));
}

/* A thread that fails in the same way again and again asks the shared map once a second, not each time. */
static __always_inline void stack_once(void *ctx, struct butfor_event *event, struct butfor_pending *pend)
{
	if (pend->stacked.call == event->call && pend->stacked.value == event->value && pend->stacked_ns &&
	    event->time_ns - pend->stacked_ns < BUTFOR_SECOND)
		return;
	pend->stacked.call = event->call;
	pend->stacked.value = event->value;
	pend->stacked_ns = event->time_ns;
	butfor_stack(ctx, event);
}

static __always_inline void tell(void *ctx, __u8 kind, struct task_struct *task, struct pt_regs *regs, __s64 value,
				 __u64 call, struct butfor_pending *pend)
{
	struct butfor_event *event = butfor_begin(kind);

	if (!event)
		return;
	butfor_begin_known(event, &pend->who);
	event->call = call;
	event->value = value;
	event->duration_ns = event->time_ns - pend->since_ns;
	arguments(event, kind, task);
	socket_of(event, kind, task, regs);
	stack_once(ctx, event, pend);
	butfor_end(event);
}

/* The error that a socket kept for later: getsockopt(SO_ERROR) succeeds and hands it out. */
static __always_inline __s64 kept_error(struct pt_regs *regs)
{
	int error = 0;

	if (PT_REGS_PARM2_CORE_SYSCALL(regs) != 1 || PT_REGS_PARM3_CORE_SYSCALL(regs) != 4)
		return 0;
	bpf_probe_read_user(&error, sizeof(error), (void *)PT_REGS_PARM4_CORE_SYSCALL(regs));
	return -(__s64)error;
}

#define PR_SET_VMA 0x53564d41

/* A process (re)published what it is (OTEP 4719): user space resolves its slot once, without polling. */
static __always_inline void published(struct pt_regs *regs, __u64 call)
{
	char name[8] = {};
	struct butfor_event *event;

	if (PT_REGS_PARM1_CORE_SYSCALL(regs) != PR_SET_VMA)
		return;
	bpf_probe_read_user(name, sizeof(name), (void *)PT_REGS_PARM5_CORE_SYSCALL(regs));
	if (__builtin_memcmp(name, "OTEL_CTX", sizeof(name)))
		return;
	event = butfor_begin(KIND_CONTEXT_PUBLISHED);
	if (!event)
		return;
	butfor_begin_thread(event);
	event->call = call;
	event->argument[0] = PT_REGS_PARM3_CORE_SYSCALL(regs);
	butfor_end(event);
}

static __always_inline void keep_socket(__u8 kind, struct task_struct *task, struct pt_regs *regs, __s64 value)
{
	struct sock *sk;

	if (kind == KIND_CONNECT && (value == 0 || value == -115)) {
		sk = butfor_sock_of(task, PT_REGS_PARM1_CORE_SYSCALL(regs));
		if (sk && butfor_is_tcp(sk))
			butfor_remember(sk, BUTFOR_CONNECTED, 1);
	} else if (kind == KIND_ACCEPT && value >= 0) {
		sk = butfor_sock_of(task, value);
		if (sk && butfor_is_tcp(sk))
			butfor_remember(sk, BUTFOR_ACCEPTED, 0);
	} else if ((kind == KIND_SEND || kind == KIND_WRITE) && value > 0) {
		sk = butfor_sock_of(task, PT_REGS_PARM1_CORE_SYSCALL(regs));
		if (sk && butfor_is_tcp(sk))
			butfor_remember(sk, 0, 1);
	}
}

static __always_inline int leaving(void *ctx, struct pt_regs *regs, __s64 value)
{
	struct task_struct *task;
	struct butfor_pending *pend;
	__u64 call;
	__u8 kind;

	/* only a watched thread has one: for all others this is the cheapest question there is */
	task = bpf_get_current_task_btf();
	pend = bpf_task_storage_get(&pending, task, 0, 0);
	if (!pend)
		return 0;
	call = pend->call;
	pend->call = BUTFOR_CALLS;
	if (call >= BUTFOR_CALLS)
		return 0;
	kind = call_kinds[call];
	if (kind == KIND_NONE)
		return 0;
	if (kind == KIND_CONTEXT_PUBLISHED) {
		published(regs, call);
		return 0;
	}
	if (kind == KIND_WAIT && value == 0) {
		pend->expired_ns = bpf_ktime_get_ns();
		return 0;
	}
	if (kind == KIND_SO_ERROR)
		value = value ? value : kept_error(regs);
	if (failed(value) || (kind == KIND_SO_ERROR && value))
		tell(ctx, kind, task, regs, value, call, pend);
	else if (kind != KIND_WAIT && kind != KIND_SO_ERROR && bpf_ktime_get_ns() - pend->since_ns >= slow_ns)
		tell(ctx, kind, task, regs, value, call, pend);
	keep_socket(kind, task, regs, value);
	return 0;
}

/* No function form: what every call passes (x64_sys_call and its like) is kept from being traced, and the functions of
 * single calls would need a return probe each, of which a kprobe keeps only so many and does not count the rest. */
BUTFOR_ON_TRACEPOINT(leave, sys_exit, leaving(ctx, regs, value), struct pt_regs *regs, long value)
