/* What TCP does behind the program's back: retransmits, resets and changes of state of sockets that a watched process used. */
#include "sockets.h"

char LICENSE[] SEC("license") = "GPL";

/* These fire in softirq as well, where the running thread has nothing to do with the socket. */
static __always_inline int tell(struct sock *sk, __u32 kind, __s64 value, __u64 before)
{
	__u64 key = (__u64)sk;
	struct butfor_socket *known = bpf_map_lookup_elem(&sockets, &key);
	struct butfor_event *event;

	if (!known || known->closed)
		return 0;
	event = butfor_begin(kind);
	if (!event)
		return 0;
	event->cpu = bpf_get_smp_processor_id();
	event->pid = known->pid;
	event->tid = known->tid;
	event->value = value;
	event->argument[0] = before;
	butfor_describe(event, sk);
	__builtin_memcpy(event->trace_id, known->trace_id, 16);
	__builtin_memcpy(event->span_id, known->span_id, 8);
	event->join = JOIN_SOCKET;
	butfor_end(event);
	return 0;
}

SEC("raw_tp/tcp_retransmit_skb")
int retransmit(struct bpf_raw_tracepoint_args *ctx)
{
	return tell((struct sock *)ctx->args[0], KIND_RETRANSMIT, 0, 0);
}

SEC("raw_tp/tcp_send_reset")
int reset_sent(struct bpf_raw_tracepoint_args *ctx)
{
	return ctx->args[0] ? tell((struct sock *)ctx->args[0], KIND_RESET_SENT, 0, 0) : 0;
}

SEC("raw_tp/tcp_receive_reset")
int reset_received(struct bpf_raw_tracepoint_args *ctx)
{
	return tell((struct sock *)ctx->args[0], KIND_RESET_RECEIVED, 0, 0);
}

#define TCP_SYN_SENT 2
#define TCP_CLOSE 7

SEC("raw_tp/inet_sock_set_state")
int state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	int before = ctx->args[1], after = ctx->args[2];
	__u64 key = (__u64)sk;
	struct butfor_socket *known;

	if (!butfor_is_tcp(sk))
		return 0;
	/* connect() itself takes the socket to SYN_SENT: the one moment at which its thread is surely the running one */
	if (after == TCP_SYN_SENT && butfor_watched())
		butfor_remember(sk, BUTFOR_CONNECTED, 1);
	tell(sk, KIND_TCP_STATE, after, before);
	known = after == TCP_CLOSE ? bpf_map_lookup_elem(&sockets, &key) : NULL;
	if (known)
		known->closed = 1;
	return 0;
}
