/* Maps that all probes share. The loader gives each object the same ones by name. */
#ifndef BUTFOR_MAPS_H
#define BUTFOR_MAPS_H

#include "event.h"

/* Records on their way to user space. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024 * 1024);
} events SEC(".maps");

/* What did not arrive, by enum butfor_loss. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSS_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

/* Events whose thread had no context to read, by enum butfor_context_miss. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MISS_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} misses SEC(".maps");

/* The processes that are watched (host tgid); children are added by the lifecycle probe. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u32);
} targets SEC(".maps");

/* How to find a thread's span record, by host tgid (OTEP 4947): resolved in user space once per process. */
struct butfor_slot {
	__s64 offset;   /* static TLS: added to the thread pointer; dynamic: added to the module's block */
	__u32 module;   /* index in the DTV, 0 for static TLS */
	__u32 dtv_entry; /* bytes per DTV entry: 16 for glibc, 8 for musl */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct butfor_slot);
} slots SEC(".maps");

/* What of a thread never changes (but by exec in a thread that is not the first: then its tid does). */
struct butfor_identity {
	__u64 started_ns;
	__u32 tid;        /* host id it was read for, 0 for not read yet */
	__u32 inner_pid;
	__u32 inner_tid;
	__u32 padding;
};

#define BUTFOR_CONNECTED 1
#define BUTFOR_ACCEPTED 2

/* The span that last used a socket, by the socket's address: softirq has no thread to ask. */
struct butfor_socket {
	__u8 trace_id[16];
	__u8 span_id[8];
	__u64 sent_ns;        /* when its owner last sent, and how much had been received by then */
	__u64 received_then;
	__u32 pid;
	__u32 tid;
	__u32 client;         /* BUTFOR_CONNECTED or BUTFOR_ACCEPTED */
	__u32 closed;         /* the kernel is done with it; its owner may still be told of how it ended */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct butfor_socket);
} sockets SEC(".maps");

/* User and kernel stacks by id. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 16384);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 64 * sizeof(__u64));
} stacks SEC(".maps");

/* When a stack was last taken for a key (process, call, errno): once a second is enough to see where it comes from. */
struct butfor_stack_key {
	__u32 pid;
	__u32 call;
	__s64 value;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct butfor_stack_key);
	__type(value, __u64);
} stacked SEC(".maps");

#endif
