"""What the kernel saw in given spans: few rows as objects, read out of many at once; no I/O."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from butfor.evidence import families, names
from butfor.evidence.kernels import error_name, target_type
from butfor.evidence.timelines import Timelines

LEAST_CONFIDENCE = 0.5
"""What is less likely than not is drawn nowhere."""
MAX_READ = 50_000
_MAX_MODULES = 5
_SYSTEM = re.compile(r"/(?:ld-linux[^/]*|libc|libpthread|libm|libdl|ld-musl[^/]*)[.-][^/]*$")
_WAITS = {1: "the CPU", 2: "a disk"}
_WAIT_CALLS = {"futex": "a lock", "flock": "a file lock"}
_SOCKET_CALLS = ("recvfrom", "recvmsg", "read", "sendto", "sendmsg", "connect", "accept4", "accept")
_POLLS = ("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2")
_COLUMNS = (
    "time_ns", "duration_ns", "kind", "call", "value", "errno", "failure", "pid", "tid", "path", "family", "remote",
    "argument_0", "user_stack",
)  # fmt: skip

Tuple = tuple[str, str, str, str]
"""Kind, call, errno and target type: the shape of a failure."""


@dataclass(frozen=True)
class Happening:
    """One event in one span. `row` is its row in `Telemetry.kernel`."""

    row: int
    span: str
    confidence: float
    source: str
    time: int
    seconds: float
    kind: str
    call: str
    value: int
    errno: str
    failure: bool
    pid: int
    tid: int
    path: str
    family: str
    remote: str
    reason: int
    stack: int
    modules: tuple[str, ...] = ()
    """Files of the native code that was running, innermost first, each once; only for what ended a process."""
    functions: tuple[str, ...] = ()
    """Its functions, as far as they have names, innermost first."""

    @property
    def id(self) -> str:
        """Its evidence id."""
        return f"kernel:{self.row}"

    @property
    def exact(self) -> bool:
        """The kernel read its span itself."""
        return self.confidence >= 1

    @property
    def target_type(self) -> str:
        """inet, inet6, unix, file, process, or empty."""
        return target_type(self.kind, self.family, self.path)

    @property
    def error(self) -> str:
        """The errno, or what stands for one: a signal's name, an exit status."""
        return error_name(self.kind, self.value, self.errno)

    @property
    def shape(self) -> Tuple:
        """What it has in common with others."""
        return self.kind, self.call, self.error, self.target_type

    @property
    def target(self) -> str:
        """A peer's address, or a path without what may be a customer's."""
        return self.remote or (names.path(self.path) if self.path else "")

    @property
    def awaited(self) -> str:
        """What a thread off the CPU waited for."""
        if self.reason in _WAITS:
            return _WAITS[self.reason]
        if self.call in _WAIT_CALLS:
            return _WAIT_CALLS[self.call]
        if self.call in _SOCKET_CALLS:
            return "a peer or a file"
        return "an event or a timer" if self.call in _POLLS else "a timer"

    @property
    def family_of_error(self) -> str:
        """The exception family that the error would have, e.g. `exhausted.files`."""
        if self.kind == "oom_kill":
            return "exhausted.memory"
        if self.kind == "signal" and self.value == signal.SIGXFSZ:
            return "exhausted.size"
        if self.kind == "abandon":
            return "timeout"
        if self.kind == "reset_received":
            return "connection.reset"
        return families.family(["Error"], self.errno) if self.errno else families.UNKNOWN

    def said(self) -> str:
        """In words, without how long it took."""
        if self.kind == "off_cpu":
            return f"waits for {self.awaited}"
        words = {
            "abandon": "gives up waiting for", "reset_received": "connection reset by", "so_error": "connect",
            "tcp_state": "cannot open a connection to",
            "oom_kill": "killed for want of memory", "signal": "ends by", "exit": "exits with",
        }  # fmt: skip
        verb = words.get(self.kind) or self.call or self.kind.replace("_", " ")
        where = f"in {' of '.join([*self.functions[:1], self.modules[0].rpartition('/')[2]])}" if self.modules else ""
        return " ".join(part for part in (verb, self.error, self.target, where) if part)


def happenings(timelines: Timelines, spans: Sequence[str] | set[str]) -> dict[str, list[Happening]]:
    """Per span, in time order: failures, slow calls and waits of the kernel that most likely belong to it."""
    joined, events = timelines.joined, timelines.telemetry.kernel
    if not joined.num_rows or not spans:
        return {}
    wanted = pc.and_(
        pc.is_in(joined["span"].cast(pa.string()), value_set=pa.array(sorted(spans), pa.string())),
        pc.greater_equal(joined["confidence"], pa.scalar(LEAST_CONFIDENCE, pa.float32())),
    )
    found = joined.filter(wanted)
    rows = events.select(_COLUMNS).take(found["event"])
    telling = _telling(rows)
    return _by_span(found.filter(telling), rows.filter(telling), _Stacks(timelines.telemetry.stacks))


def _telling(rows: pa.Table) -> pa.Array:
    """Failures, and what took time. An exception's frames are told by correlate."""
    kinds = rows["kind"].cast(pa.string())
    took = pc.and_(pc.greater(rows["duration_ns"], 0), pc.not_equal(kinds, "exception"))
    return pc.or_(rows["failure"], took)


class _Stacks:
    """Native code in stacks, looked up where it is asked for: that of a few ends among many."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def native(self, row: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Files and functions of what ended a process; what every program runs through is left out."""
        if row["kind"] != "signal" or row["user_stack"] < 0:
            return (), ()
        table = self._table
        mine = pc.and_(pc.equal(table["pid"], row["pid"]), pc.equal(table["stack"], row["user_stack"]))
        frames = [frame for one in table.filter(mine).slice(0, 1)["frames"].to_pylist() for frame in one or ()]
        own = [frame for frame in frames if frame["module"] and not _SYSTEM.search(frame["module"])]
        files = dict.fromkeys(frame["module"] for frame in own)
        named = dict.fromkeys(f["function"] for f in own if f["function"] and f["module"] == own[0]["module"])
        return tuple(files)[:_MAX_MODULES], tuple(named)[:_MAX_MODULES]


def _by_span(joined: pa.Table, rows: pa.Table, stacks: _Stacks) -> dict[str, list[Happening]]:
    time = np.asarray(rows["time_ns"])
    # where there are too many, all failures come before what was merely slow
    order = np.lexsort((time, ~np.asarray(rows["failure"])))[:MAX_READ]
    taken = pa.array(order)
    found: dict[str, list[Happening]] = {}
    for how, row in zip(joined.take(taken).to_pylist(), rows.take(taken).to_pylist(), strict=True):
        found.setdefault(how["span"], []).append(Happening(
            how["event"], how["span"], how["confidence"], how["join_source"], row["time_ns"],
            max(row["duration_ns"], 0) / 1e9, row["kind"], row["call"], row["value"], row["errno"], row["failure"],
            row["pid"], row["tid"], row["path"], row["family"], row["remote"], row["argument_0"], row["user_stack"],
            *stacks.native(row),
        ))  # fmt: skip
    return {span: sorted(several, key=lambda one: (one.time, one.row)) for span, several in found.items()}
