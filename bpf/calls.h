/* What the two ends of a system call tell each other. */
#ifndef BUTFOR_CALLS_H
#define BUTFOR_CALLS_H

#include "maps.h"

#define BUTFOR_CALLS 512
/* So long a thread of a process that is watched no more may still be told of. */
#define BUTFOR_ASK_NS 100000000ULL

struct butfor_pending {
	__u64 since_ns;
	__u64 expired_ns;  /* when this thread's wait last ran out */
	__u64 call;        /* BUTFOR_CALLS outside a call */
	struct butfor_identity who;
	struct butfor_stack_key stacked;  /* of the last stack that was asked for, and when */
	__u64 stacked_ns;
	__u64 asked_ns;    /* when it was last asked whether the process is watched */
};

#endif
