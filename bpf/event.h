/* The one record that every probe writes, and the codes in it. User space derives its dtype from this struct's BTF. */
#ifndef BUTFOR_EVENT_H
#define BUTFOR_EVENT_H

#define BUTFOR_COMM 16
#define BUTFOR_PATH 104

enum butfor_kind {
	KIND_NONE = 0,
	KIND_CONNECT,
	KIND_ACCEPT,
	KIND_READ,
	KIND_WRITE,
	KIND_SEND,
	KIND_RECV,
	KIND_OPEN,
	KIND_CLOSE,
	KIND_FSYNC,
	KIND_SO_ERROR,
	KIND_WAIT,
	KIND_OTHER_CALL,
	KIND_ABANDON,
	KIND_RETRANSMIT,
	KIND_RESET_SENT,
	KIND_RESET_RECEIVED,
	KIND_TCP_STATE,
	KIND_OFF_CPU,
	KIND_FORK,
	KIND_EXEC,
	KIND_EXIT,
	KIND_SIGNAL,
	KIND_OOM_KILL,
	KIND_CONTEXT_PUBLISHED,
	KIND_EXCEPTION,
	KIND_COUNT,
};

/* Where the span context of a record was read (design.md, Span context). */
enum butfor_join {
	JOIN_NONE = 0,
	JOIN_THREAD,   /* OTEP 4947 record of the running thread, read at the event */
	JOIN_SOCKET,   /* the context last stored for the socket; softirq has no thread of its own */
};

/* Why a thread's context was not read. Also the index of its per-CPU counter. */
enum butfor_context_miss {
	MISS_NO_SLOT = 0,   /* the process publishes none, or it is not resolved yet */
	MISS_FAULT,         /* the pointer or the record could not be read */
	MISS_NULL,          /* no span is active */
	MISS_INVALID,       /* the record says that it is being written */
	MISS_COUNT,
};

/* Why an event was not delivered. */
enum butfor_loss {
	LOSS_RING_FULL = 0,
	LOSS_PENDING_FULL,  /* no room to remember when a call began: its duration is unknown, it was not lost */
	LOSS_STACK,         /* the stack could not be kept; the event was */
	LOSS_SOCKET_FULL,
	LOSS_COUNT,
};

struct butfor_event {
	__u64 time_ns;         /* CLOCK_MONOTONIC at the end of what happened */
	__u64 duration_ns;     /* 0 where it has none or it is unknown */
	__s64 value;           /* return value, signal, state, exit code: see kind */
	__u64 cgroup;
	__u64 started_ns;      /* start of the process, CLOCK_BOOTTIME: tells a reused pid apart */
	__u64 socket;          /* identity of the socket within the capture, 0 for none */
	__u64 argument[2];     /* e.g. flags, timeout, bytes asked for; the frame for KIND_EXCEPTION */
	__u32 kind;
	__u32 call;            /* system call number, or -1 */
	__u32 cpu;
	__u32 pid;             /* host ids */
	__u32 tid;
	__u32 inner_pid;       /* ids in the innermost pid namespace */
	__u32 inner_tid;
	__s32 descriptor;
	__s32 user_stack;      /* key in the stacks map, negative for none */
	__s32 kernel_stack;
	__u8 trace_id[16];
	__u8 span_id[8];
	__u8 join;
	__u8 miss;             /* enum butfor_context_miss, meaningful where join is JOIN_NONE */
	__u8 family;           /* AF_INET, AF_INET6, AF_UNIX, 0 for none */
	__u8 socket_type;
	__u16 local_port;
	__u16 remote_port;
	__u8 local_address[16];
	__u8 remote_address[16];
	char comm[BUTFOR_COMM];
	char path[BUTFOR_PATH];  /* of open, exec and AF_UNIX; cut where longer, and then not NUL-terminated */
};

#endif
