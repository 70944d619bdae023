"""What the kernel saw, as Arrow tables: events, the processes they are of, stacks, and the spans they are joined to.

Texts that repeat are dictionary encoded: ten million events share a few thousand of them. No I/O here.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

import butfor.evidence.arrows  # noqa: F401  (whoever handles these tables does without pandas)
from butfor.evidence._base import Frozen
from butfor.evidence.bundles import Loss

TEXT = pa.dictionary(pa.int32(), pa.string())

KERNEL = pa.schema(
    [
        ("time_ns", pa.int64()),  # Unix nanoseconds, at the end of what happened
        ("duration_ns", pa.int64()),  # 0: it has none, or it is not known
        ("kind", TEXT),  # connect, open, wait, off_cpu, exit, signal, exception, ...
        ("call", TEXT),  # the system call, empty where it was none
        ("value", pa.int64()),  # return value, signal, TCP state, wait status of an exit
        ("errno", TEXT),  # ECONNREFUSED, empty where the call did not fail
        ("failure", pa.bool_()),  # design.md, failure event
        ("cpu", pa.int32()),
        ("pid", pa.int64()),  # the host's ids
        ("tid", pa.int64()),
        ("inner_pid", pa.int64()),  # in the process's own pid namespace, 0 where not known
        ("inner_tid", pa.int64()),
        ("started_ns", pa.int64()),  # CLOCK_BOOTTIME; tells a reused pid apart
        ("cgroup", pa.uint64()),
        ("comm", TEXT),
        ("descriptor", pa.int32()),
        ("path", TEXT),
        ("path_cut", pa.bool_()),
        ("family", TEXT),  # inet, inet6, unix
        ("socket", pa.uint64()),  # identity within the capture, 0 for none
        ("local", TEXT),  # address:port
        ("remote", TEXT),
        ("file", TEXT),  # of the frame of an exception, as with line and function
        ("line", pa.int32()),
        ("function", TEXT),
        ("argument_0", pa.uint64()),
        ("argument_1", pa.uint64()),
        ("user_stack", pa.int32()),  # key of STACKS together with the pid, negative for none
        ("kernel_stack", pa.int32()),
        ("trace_id", TEXT),  # hex, empty where the kernel read none
        ("span_id", TEXT),
        ("join", TEXT),  # thread: the running thread's record; socket: last stored for it; none
        ("miss", TEXT),  # why the thread's record was not read; `null`: no span was active
    ]
)
"""One row per event, in the order of `kernel.arrow`; evidence id `kernel:<row>`."""

PROCESSES = pa.schema(
    [
        ("pid", pa.int64()),
        ("inner_pid", pa.int64()),
        ("parent", pa.int64()),
        ("started_ns", pa.int64()),
        ("executable", pa.string()),
        ("service", pa.string()),
        ("container", pa.string()),
        ("context", pa.string()),  # how its span context is found, or why not
        ("exit_ns", pa.int64()),  # Unix nanoseconds; null while it runs
        ("exit_code", pa.int32()),
        ("exit_signal", pa.int32()),
    ]
)

STACKS = pa.schema(
    [
        ("pid", pa.int64()),
        ("stack", pa.int32()),
        ("frames", pa.list_(pa.struct([("module", pa.string()), ("offset", pa.uint64()), ("function", pa.string())]))),
    ]
)
"""Frames innermost first; `offset` is that in the module's file, `function` empty or null where it is not known."""

JOIN_SOURCES = ("thread", "socket", "timeline", "connection", "window")
"""Best first: the thread's record read at the event; the record last stored for its socket; the thread's own spans
at that moment; the connection's client span; the spans that were open in the process."""

JOINED = pa.schema(
    [
        ("event", pa.int64()),  # row of KERNEL
        ("span", TEXT),  # `trace/span`
        ("join_source", TEXT),
        ("confidence", pa.float32()),  # 1: exact; a window's candidates share what there is
    ]
)
"""Several rows of one event are candidates of which one is right. Ordered by event, then confidence."""


class JoinSummary(Frozen):
    """The kernel's events by how they were joined to spans.

    `exact`: the thread's record said it. `inferred`: with less than certainty. `outside`: no span was open in the
    process, or the record of the thread or socket said that it was in none. `unattributed`: spans were open, and which
    of them it was cannot be said.
    """

    exact: int = 0
    inferred: int = 0
    unattributed: int = 0
    outside: int = 0


PROCESS_KINDS = ("signal", "exit", "oom_kill", "exec", "fork")

LOOKUPS = frozenset({"ENOENT", "ENOTDIR", "EEXIST", "ENOTTY", "ENODATA", "EINVAL", "ESPIPE", "ENOSYS", "EOPNOTSUPP"})
"""Programs ask whether something is there, or works: of one failing request alone these tell nothing."""


def lost_share(losses: Iterable[Loss], rows: int) -> float:
    """The share of the kernel's events that were lost on the way, 0 to 1; losses of a part of one do not count."""
    lost = sum(one.count for one in losses if one.where == "kernel events")
    return lost / (lost + rows) if lost else 0.0


LOCK_WAIT_NS = 100_000_000
"""So long a wait for a lock is one that others hold over something slow: the interpreter's own end after 5 ms."""
_LOCKS = pa.array(["futex", "flock"])
LOCK = "lock"


def with_lock_waits(events: pa.Table) -> pa.Table:
    """The same events (some columns of KERNEL), with long waits for a lock as failures whose target is `lock`."""
    called = pc.is_in(events["call"].cast(pa.string()), value_set=_LOCKS)
    waited = pc.and_(pc.equal(events["kind"].cast(pa.string()), "off_cpu"), called)
    waited = pc.and_(waited, pc.greater_equal(events["duration_ns"], LOCK_WAIT_NS))
    changed = {
        "failure": pc.or_(events["failure"], waited),
        "family": pc.if_else(waited, LOCK, events["family"].cast(pa.string())),
    }
    for name, column in changed.items():
        at = events.schema.get_field_index(name)
        events = events.set_column(at, events.schema.field(name), column.cast(events.schema.field(name).type))
    return events


def act(kind: str) -> str:
    """What was tried: whether a connect that fails is told of by itself or by SO_ERROR is a matter of microseconds."""
    return "connect" if kind == "so_error" else kind


def error_name(kind: str, value: int, errno: str) -> str:
    """The errno, or what stands for one: the signal that ended a process, or its exit status."""
    if kind == "signal":
        return signal_name(value)
    if kind == "exit":
        return signal_name(value & 0x7F) if value & 0x7F else f"status {value >> 8 & 0xFF}"
    return errno


def target_type(kind: str, family: str, path: str) -> str:
    """What an event is about: inet, inet6, unix, file, process, or empty where it is none of these."""
    if kind in PROCESS_KINDS:
        return "process"
    return family or ("file" if path else "")


def signal_name(number: int) -> str:
    """SIGSEGV for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
