/* Publishes the active span of each thread (OTEP 4947) so that a reader on the same thread finds it without a call.
 *
 * The span lives in a context variable of ours, so that it follows tasks and contexts as the interpreter moves them; the
 * thread's record is a copy of it, rewritten whenever the interpreter enters another context. A record is never changed
 * while the pointer shows it: there are two, and the pointer swaps.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define IDS 24

struct record {
	uint8_t ids[IDS];
	uint8_t valid;
	uint8_t flags;
	uint16_t attributes_size;
} __attribute__((packed));

__attribute__((visibility("default"), used)) __thread struct record *otel_thread_ctx_v1 = NULL;
static __thread struct record records[2];
static __thread int turn = 0;

/* Its value is bytes: trace id and span id; None or unset where no span is active. */
static PyObject *span_variable = NULL;

static void show(const char *ids)
{
	struct record *next;

	if (!ids) {
		otel_thread_ctx_v1 = NULL;
		return;
	}
	if (otel_thread_ctx_v1 && memcmp(otel_thread_ctx_v1->ids, ids, IDS) == 0)
		return;
	turn = !turn;
	next = &records[turn];
	memcpy(next->ids, ids, IDS);
	next->valid = 1;
	next->flags = 1;
	next->attributes_size = 0;
	/* the reader interrupts this very thread: a compiler fence is all that is needed */
	atomic_signal_fence(memory_order_seq_cst);
	otel_thread_ctx_v1 = next;
}

static void show_current(void)
{
	PyObject *ids = NULL;

	if (PyContextVar_Get(span_variable, NULL, &ids) < 0) {
		PyErr_Clear();
		show(NULL);
		return;
	}
	show(ids && PyBytes_CheckExact(ids) && PyBytes_GET_SIZE(ids) == IDS ? PyBytes_AS_STRING(ids) : NULL);
	Py_XDECREF(ids);
}

static void show_current_keeping_error(void)
{
	PyObject *type, *value, *traceback;

	PyErr_Fetch(&type, &value, &traceback);
	show_current();
	PyErr_Restore(type, value, traceback);
}

static PyObject *activate(PyObject *module, PyObject *ids)
{
	PyObject *before = NULL, *token;

	if (ids != Py_None && !(PyBytes_CheckExact(ids) && PyBytes_GET_SIZE(ids) == IDS))
		return PyErr_Format(PyExc_ValueError, "a span is %d bytes (trace id, span id) or None", IDS);
	if (PyContextVar_Get(span_variable, Py_None, &before) < 0)
		return NULL;
	token = PyContextVar_Set(span_variable, ids);
	if (!token) {
		Py_DECREF(before);
		return NULL;
	}
	Py_DECREF(token);
	show(ids == Py_None ? NULL : PyBytes_AS_STRING(ids));
	return before;
}

static PyObject *refresh(PyObject *module, PyObject *unused)
{
	show_current();
	Py_RETURN_NONE;
}

static PyObject *shown(PyObject *module, PyObject *unused)
{
	if (!otel_thread_ctx_v1)
		Py_RETURN_NONE;
	return PyBytes_FromStringAndSize((const char *)otel_thread_ctx_v1->ids, IDS);
}

#if PY_VERSION_HEX < 0x030E0000
/* contextvars.Context.run, and the record follows: asyncio, thread helpers and anyio all enter contexts through it. */
static PyObject *context_run(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
	PyObject *result;

	if (count < 1) {
		PyErr_SetString(PyExc_TypeError, "run() missing 1 required positional argument");
		return NULL;
	}
	if (PyContext_Enter(self))
		return NULL;
	show_current();
	result = PyObject_Vectorcall(args[0], args + 1, (size_t)(count - 1), names);
	if (PyContext_Exit(self)) {
		Py_XDECREF(result);
		result = NULL;
	}
	if (result)
		show_current();
	else
		show_current_keeping_error();
	return result;
}

static PyMethodDef context_run_method = {"run", (PyCFunction)(void (*)(void))context_run, METH_FASTCALL | METH_KEYWORDS, NULL};

static PyObject *follow_contexts(PyObject *module, PyObject *unused)
{
	PyObject *dict, *method = PyDescr_NewMethod(&PyContext_Type, &context_run_method);
	int failed;

	if (!method)
		return NULL;
#if PY_VERSION_HEX >= 0x030C0000
	dict = PyType_GetDict(&PyContext_Type);
#else
	dict = Py_NewRef(PyContext_Type.tp_dict);
#endif
	failed = PyDict_SetItemString(dict, "run", method);
	Py_DECREF(dict);
	Py_DECREF(method);
	if (failed)
		return NULL;
	PyType_Modified(&PyContext_Type);
	Py_RETURN_NONE;
}
#else
static int context_switched(PyContextEvent event, PyObject *context)
{
	if (event == Py_CONTEXT_SWITCHED)
		show_current_keeping_error();
	return 0;
}

static PyObject *follow_contexts(PyObject *module, PyObject *unused)
{
	if (PyContext_AddWatcher(context_switched) < 0)
		return NULL;
	Py_RETURN_NONE;
}
#endif

/* A coroutine whose every step shows its own span: for event loops that enter contexts in C (uvloop). */
struct followed {
	PyObject_HEAD
	PyObject *inner;
};

static PySendResult followed_send(PyObject *self, PyObject *argument, PyObject **result)
{
	PySendResult status;

	show_current();
	status = PyIter_Send(((struct followed *)self)->inner, argument, result);
	show(NULL);
	return status;
}

static PyObject *called(PyObject *self, const char *name, PyObject *args)
{
	PyObject *method = PyObject_GetAttrString(((struct followed *)self)->inner, name), *result;

	if (!method)
		return NULL;
	show_current();
	result = PyObject_CallObject(method, args);
	show(NULL);
	Py_DECREF(method);
	return result;
}

static PyObject *followed_send_method(PyObject *self, PyObject *args)
{
	return called(self, "send", args);
}

static PyObject *followed_throw(PyObject *self, PyObject *args)
{
	return called(self, "throw", args);
}

static PyObject *followed_close(PyObject *self, PyObject *unused)
{
	return called(self, "close", NULL);
}

static PyObject *followed_next(PyObject *self)
{
	PyObject *result = NULL;

	switch (followed_send(self, Py_None, &result)) {
	case PYGEN_NEXT:
		return result;
	case PYGEN_RETURN:
		if (result != Py_None) {
			PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);

			if (stop) {
				PyErr_SetObject(PyExc_StopIteration, stop);
				Py_DECREF(stop);
			}
		}
		Py_XDECREF(result);
		return NULL;
	default:
		return NULL;
	}
}

/* What we do not have ourselves is the coroutine's: its name, frame and code, for whoever inspects a task. */
static PyObject *followed_attribute(PyObject *self, PyObject *name)
{
	PyObject *found = PyObject_GenericGetAttr(self, name);

	if (found || !PyErr_ExceptionMatches(PyExc_AttributeError))
		return found;
	PyErr_Clear();
	return PyObject_GetAttr(((struct followed *)self)->inner, name);
}

static PyObject *followed_repr(PyObject *self)
{
	return PyObject_Repr(((struct followed *)self)->inner);
}

static int followed_traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	Py_VISIT(((struct followed *)self)->inner);
	return 0;
}

static int followed_clear(PyObject *self)
{
	Py_CLEAR(((struct followed *)self)->inner);
	return 0;
}

static void followed_free(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);

	PyObject_GC_UnTrack(self);
	followed_clear(self);
	type->tp_free(self);
	Py_DECREF(type);
}

static PyMethodDef followed_methods[] = {
	{"send", followed_send_method, METH_VARARGS, "As of a coroutine."},
	{"throw", followed_throw, METH_VARARGS, "As of a coroutine."},
	{"close", followed_close, METH_NOARGS, "As of a coroutine."},
	{NULL, NULL, 0, NULL},
};

static PyType_Slot followed_slots[] = {
	{Py_am_send, followed_send},
	{Py_am_await, PyObject_SelfIter},
	{Py_tp_iter, PyObject_SelfIter},
	{Py_tp_iternext, followed_next},
	{Py_tp_getattro, followed_attribute},
	{Py_tp_repr, followed_repr},
	{Py_tp_traverse, followed_traverse},
	{Py_tp_clear, followed_clear},
	{Py_tp_dealloc, followed_free},
	{Py_tp_methods, followed_methods},
	{0, NULL},
};

static PyType_Spec followed_spec = {
	.name = "butfor_context.followed",
	.basicsize = sizeof(struct followed),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = followed_slots,
};

static PyTypeObject *followed_type = NULL;

static PyObject *follow(PyObject *module, PyObject *coroutine)
{
	struct followed *self;

	if (Py_TYPE(coroutine) == followed_type)
		return Py_NewRef(coroutine);
	self = PyObject_GC_New(struct followed, followed_type);
	if (!self)
		return NULL;
	self->inner = Py_NewRef(coroutine);
	PyObject_GC_Track(self);
	return (PyObject *)self;
}

/* The process context (OTEP 4719): a named mapping that says where its payload is. */
#define PAYLOAD_MOST 65536
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

struct header {
	char signature[8];
	uint32_t version;
	uint32_t size;
	_Atomic uint64_t published_ns;
	const void *payload;
};

static struct header *mapping = NULL;
static pid_t mapping_of = 0;
static void *payloads[2];
static int payload_turn = 0;

static uint64_t boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static struct header *fresh_mapping(size_t size)
{
	int descriptor = memfd_create("OTEL_CTX", MFD_CLOEXEC);
	void *at = MAP_FAILED;

	if (descriptor < 0)
		return NULL;
	if (ftruncate(descriptor, size) == 0)
		at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0);
	close(descriptor);
	if (at == MAP_FAILED)
		return NULL;
	/* a child is another process: it publishes its own */
	madvise(at, size, MADV_DONTFORK);
	memcpy(at, "OTEL_CTX", 8);
	return at;
}

static PyObject *publish(PyObject *module, PyObject *payload)
{
	size_t page = sysconf(_SC_PAGESIZE);
	uint64_t before = 0, now;
	void *copy;

	if (!PyBytes_CheckExact(payload) || PyBytes_GET_SIZE(payload) == 0 || PyBytes_GET_SIZE(payload) > PAYLOAD_MOST)
		return PyErr_Format(PyExc_ValueError, "a process context is 1 to %d bytes", PAYLOAD_MOST);
	if (mapping_of != getpid()) {
		mapping = fresh_mapping(page);
		if (!mapping)
			return PyErr_SetFromErrno(PyExc_OSError);
		mapping_of = getpid();
	}
	copy = malloc(PyBytes_GET_SIZE(payload));
	if (!copy)
		return PyErr_NoMemory();
	memcpy(copy, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload));
	before = atomic_exchange(&mapping->published_ns, 0);
	atomic_thread_fence(memory_order_seq_cst);
	payload_turn = !payload_turn;
	free(payloads[payload_turn]);
	payloads[payload_turn] = copy;
	mapping->version = 2;
	mapping->size = PyBytes_GET_SIZE(payload);
	mapping->payload = copy;
	atomic_thread_fence(memory_order_seq_cst);
	now = boot_ns();
	atomic_store(&mapping->published_ns, now > before ? now : before + 1);
	/* always: readers that watch prctl learn of it, also where the kernel cannot name mappings */
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, mapping, page, "OTEL_CTX");
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
	{"publish", publish, METH_O, "Publish a serialised ProcessContext (OTEP 4719), again after every fork."},
	{"activate", activate, METH_O, "Make a span (24 bytes) or None the active one of this context and thread; returns what was before."},
	{"refresh", refresh, METH_NOARGS, "Show the span of the current context in this thread."},
	{"shown", shown, METH_NOARGS, "What this thread shows now: 24 bytes, or None."},
	{"follow_contexts", follow_contexts, METH_NOARGS, "From now on the record follows every context that the interpreter enters."},
	{"follow", follow, METH_O, "A coroutine that shows its own span in each of its steps."},
	{NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT, "writer", "The thread's span record (OTEP 4947).", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_writer(void)
{
	PyObject *module = PyModule_Create(&definition);

	if (!module)
		return NULL;
	span_variable = PyContextVar_New("butfor_span", NULL);
	followed_type = (PyTypeObject *)PyType_FromSpec(&followed_spec);
	if (!span_variable || !followed_type || PyModule_AddObjectRef(module, "span", span_variable) < 0) {
		Py_DECREF(module);
		return NULL;
	}
	return module;
}
