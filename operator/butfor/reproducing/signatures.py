"""What the kernel saw fail in a run: failing calls inside requests, and deaths of the service's processes.

The files are the agent's own, written where the run could not reach them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from butfor.evidence.kernels import LOCK, act, error_name, target_type, with_lock_waits
from butfor.evidence.plays import AnswerRecord, Observation
from butfor.evidence.predicates import FailurePredicate, KernelFailure
from butfor.ports.recordings import whole_batches

LOOKUPS = frozenset({"ENOENT", "ENOTDIR", "EEXIST", "ENOTTY", "ENODATA", "EINVAL", "ESPIPE", "ENOSYS", "EOPNOTSUPP"})
"""Programs ask whether something is there or possible: that alone is no failure."""
_DEATHS = pa.array(["signal", "oom_kill"])
_COLUMNS = ("time_ns", "kind", "value", "errno", "family", "path", "pid", "trace_id", "join")
EXACT = "thread record"
"""What `processes.arrow` says of a process whose threads' records the kernel reads."""


class _Failed(NamedTuple):
    """One failure, and the trace that it belongs to: read by the kernel, or (`forked`) where its process was forked."""

    trace: str
    pid: int
    time_ns: int
    failure: KernelFailure
    forked: bool = False


def shown(folder: Path | None) -> list[KernelFailure] | None:
    """Failure tuples of a run's recording, sorted; None where it was not watched or cannot be read."""
    rows = _read(folder)
    return None if rows is None else _sorted({one.failure for one in rows})


def seen_in(observation: Observation, predicate: FailurePredicate) -> list[list[KernelFailure] | None]:
    """Per answer what failed in its own service while it was made; None where that is not known.

    What was recorded in part shows what is there, not what is lacking. The end of a process that a request forked is
    the request's until it is answered: then the process may serve others.
    """
    folder, recording = observation.kernel, observation.kernel_recording
    waits = any(one.target_type == LOCK for one in predicate.kernel)
    rows, own = _read(folder, waits=waits), _published(folder, predicate.service)
    if rows is None or not own:
        return [None] * len(observation.answers)
    found: defaultdict[str, list[_Failed]] = defaultdict(list)
    for row in rows:
        if row.pid in own:
            found[row.trace].append(row)
    whole = not recording.reason and not any(one.where == "kernel events" for one in recording.losses)
    told = [_within(answer, found.get(answer.trace_id, ())) for answer in observation.answers]
    return [_sorted(one) if whole or one >= set(predicate.kernel) else None for one in told]


def _within(answer: AnswerRecord, rows: Iterable[_Failed]) -> set[KernelFailure]:
    end = answer.start_ns + int(answer.seconds * 1e9)
    return {one.failure for one in rows if not one.forked or one.time_ns <= end}


def _sorted(failures: set[KernelFailure]) -> list[KernelFailure]:
    return sorted(failures, key=lambda one: (one.kind, one.errno, one.target_type))


def _published(folder: Path | None, service: str) -> frozenset[int]:
    """The service's processes; none where no one of them told the kernel which request it works on."""
    if folder is None or not (folder / "processes.arrow").is_file():
        return frozenset()
    try:
        with (folder / "processes.arrow").open("rb") as file, pa.ipc.open_stream(file) as reader:
            rows = [row for batch in whole_batches(reader) for row in batch.to_pylist() if row["service"] == service]
    except (OSError, pa.ArrowException):
        return frozenset()
    return frozenset(row["pid"] for row in rows) if any(row["context"] == EXACT for row in rows) else frozenset()


def _read(folder: Path | None, *, waits: bool = False) -> list[_Failed] | None:
    """Each failure, with `waits` also each long wait for a lock; None where there is nothing to read."""
    if folder is None or not (folder / "kernel.arrow").is_file():
        return None
    try:
        with (folder / "kernel.arrow").open("rb") as file, pa.ipc.open_stream(file) as reader:
            rows = [row for batch in whole_batches(reader) for row in _rows(batch, waits=waits)]
    except (OSError, pa.ArrowException, KeyError):
        return None
    return list(_failures(sorted(rows, key=lambda row: int(row["time_ns"]))))


def _rows(batch: pa.RecordBatch, *, waits: bool) -> list[dict[str, Any]]:
    """Failures that belong to a request for sure, whatever ended a process, and what processes were forked."""
    table = pa.Table.from_batches([batch])
    table = with_lock_waits(table) if waits else table
    text = {name: table[name].cast(pa.string()) for name in ("kind", "join", "trace_id")}
    inside = pc.and_(pc.equal(text["join"], "thread"), pc.not_equal(text["trace_id"], ""))
    failed = pc.and_(table["failure"], pc.or_(inside, pc.is_in(text["kind"], value_set=_DEATHS)))
    return list(table.select(_COLUMNS).filter(pc.or_(failed, pc.equal(text["kind"], "fork"))).to_pylist())


def _failures(rows: Iterable[dict[str, Any]]) -> Iterator[_Failed]:
    """The failures of rows in time order; a process that has no trace of its own has that of its fork."""
    born: dict[int, str] = {}
    for row in rows:
        own = str(row["trace_id"]) if row["join"] == "thread" else ""
        pid = int(row["pid"])
        if row["kind"] == "fork":
            born[int(row["value"])] = own or born.get(pid, "")
        elif (one := _tuple(row)).errno not in LOOKUPS:
            yield _Failed(own or born.get(pid, ""), pid, int(row["time_ns"]), one, forked=not own)


def _tuple(row: dict[str, Any]) -> KernelFailure:
    kind, errno = str(row["kind"]), error_name(str(row["kind"]), int(row["value"]), str(row["errno"]))
    return KernelFailure(kind=act(kind), errno=errno, target_type=target_type(kind, row["family"], row["path"]))


def lacking(signature: Sequence[KernelFailure], seen: Sequence[KernelFailure] | None) -> list[KernelFailure]:
    """What of a signature a run did not show; nothing where the run was not watched."""
    return [] if seen is None else [one for one in signature if one not in seen]


def words(failures: Sequence[KernelFailure]) -> str:
    """For people: `connect ECONNREFUSED (inet)`."""
    named = [" ".join(part for part in (one.kind, one.errno) if part) for one in failures]
    return ", ".join(
        f"{n} ({one.target_type})" if one.target_type else n for n, one in zip(named, failures, strict=True)
    )
