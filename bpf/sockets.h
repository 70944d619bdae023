/* From a descriptor to its socket and its addresses; which span last used it. */
#ifndef BUTFOR_SOCKETS_H
#define BUTFOR_SOCKETS_H

#include "common.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define S_IFMT 00170000
#define S_IFSOCK 0140000
#define IPPROTO_TCP 6

static __always_inline struct sock *butfor_sock_of(struct task_struct *task, int descriptor)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **slots_of = BPF_CORE_READ(table, fd);
	struct file *file = NULL;
	struct socket *socket;

	if (descriptor < 0 || (__u32)descriptor >= BPF_CORE_READ(table, max_fds))
		return NULL;
	if (bpf_probe_read_kernel(&file, sizeof(file), &slots_of[descriptor]) || !file)
		return NULL;
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

static __always_inline int butfor_is_tcp(struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

static __always_inline void butfor_unix_path(struct butfor_event *event, struct sock *sk)
{
	struct unix_address *address = BPF_CORE_READ((struct unix_sock *)sk, addr);

	if (!address)
		address = BPF_CORE_READ((struct unix_sock *)BPF_CORE_READ((struct unix_sock *)sk, peer), addr);
	if (address)
		bpf_probe_read_kernel_str(event->path, sizeof(event->path), (void *)address->name + 2);
}

static __always_inline void butfor_describe(struct butfor_event *event, struct sock *sk)
{
	event->socket = (__u64)sk;
	event->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	event->socket_type = BPF_CORE_READ(sk, sk_type);
	if (event->family != AF_INET && event->family != AF_INET6)
		return;
	event->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	event->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (event->family == AF_INET) {
		bpf_core_read(event->local_address, 4, &sk->__sk_common.skc_rcv_saddr);
		bpf_core_read(event->remote_address, 4, &sk->__sk_common.skc_daddr);
	} else {
		bpf_core_read(event->local_address, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(event->remote_address, 16, &sk->__sk_common.skc_v6_daddr);
	}
}

/* A failed connect has no peer in the socket: what was asked for is in the caller's sockaddr. */
static __always_inline void butfor_describe_wanted(struct butfor_event *event, const void *address)
{
	__u16 family = 0;

	bpf_probe_read_user(&family, sizeof(family), address);
	event->family = family;
	if (family == AF_INET || family == AF_INET6) {
		__u16 port = 0;

		bpf_probe_read_user(&port, sizeof(port), address + 2);
		event->remote_port = bpf_ntohs(port);
		if (family == AF_INET)
			bpf_probe_read_user(event->remote_address, 4, address + 4);
		else
			bpf_probe_read_user(event->remote_address, 16, address + 8);
	} else if (family == AF_UNIX) {
		bpf_probe_read_user_str(event->path, sizeof(event->path), address + 2);
	}
}

static __always_inline __u64 butfor_received(struct sock *sk)
{
	return BPF_CORE_READ((struct tcp_sock *)sk, bytes_received);
}

/* Called on the owner's thread: whoever acts on the socket is asked later, when softirq sees something of it. */
static __always_inline void butfor_remember(struct sock *sk, __u32 client, int sent)
{
	__u64 key = (__u64)sk;
	struct butfor_socket *known = bpf_map_lookup_elem(&sockets, &key);
	struct butfor_socket fresh = {};
	__u64 ids = bpf_get_current_pid_tgid();

	if (known)
		fresh = *known;
	if (butfor_read_context(ids >> 32, fresh.trace_id, fresh.span_id) != BUTFOR_CONTEXT_READ) {
		__builtin_memset(fresh.trace_id, 0, sizeof(fresh.trace_id));
		__builtin_memset(fresh.span_id, 0, sizeof(fresh.span_id));
	}
	fresh.pid = ids >> 32;
	fresh.tid = (__u32)ids;
	fresh.closed = 0;
	if (client)
		fresh.client = client;
	if (sent) {
		fresh.sent_ns = bpf_ktime_get_ns();
		fresh.received_then = butfor_received(sk);
	}
	if (bpf_map_update_elem(&sockets, &key, &fresh, BPF_ANY))
		butfor_count(&losses, LOSS_SOCKET_FULL);
}

#endif
