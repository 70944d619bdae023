/* Where CPython keeps what a frame runs; it differs from minor version to minor version. */
#ifndef BUTFOR_EXCEPTIONS_H
#define BUTFOR_EXCEPTIONS_H

struct butfor_python {
	__u32 frame;  /* PyFrameObject.f_frame */
	__u32 code;   /* _PyInterpreterFrame: the code object */
	__u32 instruction;  /* and the last instruction */
	__u32 minor;
};

#endif
