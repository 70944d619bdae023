"""What the kernel saw fail in a run: failing calls inside requests, and deaths of the service's processes.

The files are the agent's own, written where the run could not reach them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from butfor.evidence.kernels import error_name, target_type
from butfor.evidence.predicates import KernelFailure
from butfor.ports.recordings import whole_batches

LOOKUPS = frozenset({"ENOENT", "ENOTDIR", "EEXIST", "ENOTTY", "ENODATA", "EINVAL", "ESPIPE", "ENOSYS", "EOPNOTSUPP"})
"""Programs ask whether something is there or possible: that alone is no failure."""
_DEATHS = pa.array(["signal", "oom_kill"])
_COLUMNS = ("kind", "value", "errno", "family", "path")


def shown(folder: Path | None) -> list[KernelFailure] | None:
    """Failure tuples of a run's recording, sorted; None where it was not watched or cannot be read."""
    if folder is None or not (folder / "kernel.arrow").is_file():
        return None
    found: set[KernelFailure] = set()
    try:
        with (folder / "kernel.arrow").open("rb") as file, pa.ipc.open_stream(file) as reader:
            for batch in whole_batches(reader):
                found.update(_failures(batch))
    except (OSError, pa.ArrowException, KeyError):
        return None
    return sorted(found, key=lambda one: (one.kind, one.errno, one.target_type))


def _failures(batch: pa.RecordBatch) -> Iterator[KernelFailure]:
    """Those that belong to a request for sure, and whatever ended a process."""
    text = {name: batch.column(name).cast(pa.string()) for name in ("kind", "join", "trace_id")}
    inside = pc.and_(pc.equal(text["join"], "thread"), pc.not_equal(text["trace_id"], ""))
    wanted = pc.and_(batch.column("failure"), pc.or_(inside, pc.is_in(text["kind"], value_set=_DEATHS)))
    rows = batch.select(_COLUMNS).filter(wanted)
    for row in rows.to_pylist():
        kind, errno = str(row["kind"]), error_name(str(row["kind"]), int(row["value"]), str(row["errno"]))
        if errno not in LOOKUPS:
            yield KernelFailure(kind=kind, errno=errno, target_type=target_type(kind, row["family"], row["path"]))


def lacking(signature: Sequence[KernelFailure], seen: Sequence[KernelFailure] | None) -> list[KernelFailure]:
    """What of a signature a run did not show; nothing where the run was not watched."""
    return [] if seen is None else [one for one in signature if one not in seen]


def words(failures: Sequence[KernelFailure]) -> str:
    """For people: `connect ECONNREFUSED (inet)`."""
    named = [" ".join(part for part in (one.kind, one.errno) if part) for one in failures]
    return ", ".join(
        f"{n} ({one.target_type})" if one.target_type else n for n, one in zip(named, failures, strict=True)
    )
