/* One handler, several ways to be called: the loader takes the first that the kernel allows (butfor_agent/attaching.py).
 * Programs whose names agree up to the two underscores are alternatives, by their sections; of one way, all are taken. */
#ifndef BUTFOR_ATTACHING_H
#define BUTFOR_ATTACHING_H

#define BUTFOR_ON_TRACEPOINT(name, tracepoint, told, args...) \
	SEC("raw_tp/" #tracepoint) \
	int BPF_PROG(name, args) \
	{ \
		return told; \
	} \
	SEC("tp_btf/" #tracepoint) \
	int BPF_PROG(name##__tp_btf, args) \
	{ \
		return told; \
	}

/* A function that is entered where, and only where, the same becomes true; `also` tells several of one handler apart. */
#define BUTFOR_ON_FUNCTION(name, also, function, told, args...) \
	SEC("fentry/" #function) \
	int BPF_PROG(name##__fentry##also, args) \
	{ \
		return told; \
	} \
	SEC("kprobe/" #function) \
	int BPF_KPROBE(name##__kprobe##also, args) \
	{ \
		return told; \
	}

#endif
