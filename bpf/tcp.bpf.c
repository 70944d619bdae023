/* What TCP does behind the program's back: retransmits, resets and changes of state of sockets that a watched process used. */
#include "sockets.h"

char LICENSE[] SEC("license") = "GPL";

/* These fire in softirq as well, where the running thread has nothing to do with the socket. */
static __always_inline int tell(struct sock *sk, __u32 kind, __s64 value, __u64 before)
{
	__u64 key = (__u64)sk;
	struct butfor_socket *known = bpf_map_lookup_elem(&sockets, &key);
	struct butfor_event *event;

	/* whoever closes with a reset has closed the socket when it sends it */
	if (!known || (known->closed && (kind != KIND_RESET_SENT || known->tid != (__u32)bpf_get_current_pid_tgid())))
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

BUTFOR_ON_TRACEPOINT(retransmit, tcp_retransmit_skb, tell(sk, KIND_RETRANSMIT, 0, 0), struct sock *sk)

/* Of timeouts and of recovery, not of tail loss probes: the function that all of them pass, __tcp_retransmit_skb, is taken
 * apart by the compiler, and its name is then never entered. What was sent is known at the end: a kprobe tells of attempts. */
SEC("fexit/tcp_retransmit_skb")
int BPF_PROG(retransmit__fexit, struct sock *sk, struct sk_buff *skb, int segments, int refused)
{
	return refused ? 0 : tell(sk, KIND_RETRANSMIT, 0, 0);
}

SEC("kprobe/tcp_retransmit_skb")
int BPF_KPROBE(retransmit__kprobe, struct sock *sk)
{
	return tell(sk, KIND_RETRANSMIT, 0, 0);
}

#define TCP_RST 4

/* A reset is never answered with one: the functions that would return at once. */
static __always_inline int answered(struct sock *sk, struct sk_buff *skb)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	__u8 flags = TCP_RST;

	bpf_probe_read_kernel(&flags, sizeof(flags), head + BPF_CORE_READ(skb, transport_header) + 13);
	return sk && !(flags & TCP_RST) ? tell(sk, KIND_RESET_SENT, 0, 0) : 0;
}

BUTFOR_ON_TRACEPOINT(reset_sent, tcp_send_reset, sk ? tell(sk, KIND_RESET_SENT, 0, 0) : 0, struct sock *sk)
BUTFOR_ON_FUNCTION(reset_sent, , tcp_send_active_reset, tell(sk, KIND_RESET_SENT, 0, 0), struct sock *sk)
BUTFOR_ON_FUNCTION(reset_sent, _v4, tcp_v4_send_reset, answered(sk, skb), struct sock *sk, struct sk_buff *skb)
BUTFOR_ON_FUNCTION(reset_sent, _v6, tcp_v6_send_reset, answered(sk, skb), struct sock *sk, struct sk_buff *skb)

BUTFOR_ON_TRACEPOINT(reset_received, tcp_receive_reset, tell(sk, KIND_RESET_RECEIVED, 0, 0), struct sock *sk)
BUTFOR_ON_FUNCTION(reset_received, , tcp_reset, tell(sk, KIND_RESET_RECEIVED, 0, 0), struct sock *sk)

#define TCP_SYN_SENT 2
#define TCP_CLOSE 7

static __always_inline int changed(struct sock *sk, int before, int after)
{
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

BUTFOR_ON_TRACEPOINT(state, inet_sock_set_state, changed(sk, before, after), struct sock *sk, int before, int after)
/* What the tracepoint is in: the state is not stored yet. */
BUTFOR_ON_FUNCTION(state, , inet_sk_state_store, changed(sk, BPF_CORE_READ(sk, __sk_common.skc_state), after),
		   struct sock *sk, int after)
