/* Why a thread is off the CPU, and what it left behind. */
#ifndef BUTFOR_WAITING_H
#define BUTFOR_WAITING_H

enum butfor_wait_reason {
	WAIT_RUN_QUEUE = 1,  /* it could have run, another thread did */
	WAIT_IO,             /* a disk or what the kernel accounts as one */
	WAIT_SLEEP,          /* a lock, a timer, a socket: its call says which */
};

struct butfor_wait {
	__u64 since_ns;
	__u32 call;
	__u32 reason;
	__u8 trace_id[16];
	__u8 span_id[8];
};

#endif
