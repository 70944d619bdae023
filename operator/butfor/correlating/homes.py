"""Which process and thread each span ran in, and which of them each kernel event is of.

Spans name processes and threads in their own way (ids of a pid namespace, the language's thread ids), so a kernel's
pid or tid is tied to them by events whose span is known exactly, else by service and pid; never by a thread id's value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from butfor.correlating.attributes import column
from butfor.correlating.orders import Ordered, Rows

MOST_PIDS = 200_000
_MOST_ANCESTORS = 50

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Homes:
    """Per span row: `home`, its process (-1: not the service's own), `thread`, and whether it names its thread.

    `local_root`: what called it ran in another process. `by_pid`: homes of processes that the kernel knows.
    """

    spans: Ordered
    home: Rows
    thread: Rows
    threaded: Bools
    local_root: Bools
    by_pid: Mapping[int, int]
    parents: Mapping[int, int]

    def of_events(self, events: pa.Table, row: Rows, exact: Bools) -> Rows:
        """Per event the home of its process: as its exact events say, else as its service and pid do, else -1."""
        pids, codes = _encoded(events["pid"])
        learned = _commonest(codes[exact], self.home[row[exact]], len(pids))
        known = {**self.by_pid, **{pids[i]: int(learned[i]) for i in np.flatnonzero(learned >= 0).tolist()}}
        found = [self._inherited(pid, known) if i < MOST_PIDS else -1 for i, pid in enumerate(pids)]
        return np.array(found, np.int64)[codes] if found else np.full(len(codes), -1, np.int64)

    def _inherited(self, pid: int, known: Mapping[int, int]) -> int:
        """A child does what its parent's requests made it for."""
        for _ in range(_MOST_ANCESTORS):
            if pid in known:
                return known[pid]
            if pid not in self.parents:
                break
            pid = self.parents[pid]
        return -1

    def threads_of_events(self, events: pa.Table, row: Rows, exact: Bools, home: Rows) -> Rows:
        """Per event its thread: as its exact events say, all of them, else -1."""
        tids, codes = _encoded(events["tid"])
        told = exact & (row >= 0)
        told[told] = self.threaded[row[told]]
        lowest = np.full(len(tids), np.iinfo(np.int64).max)
        highest = np.full(len(tids), -1, np.int64)
        np.minimum.at(lowest, codes[told], self.thread[row[told]])
        np.maximum.at(highest, codes[told], self.thread[row[told]])
        found = np.where(lowest == highest, highest, -1)[codes] if len(tids) else np.full(len(codes), -1, np.int64)
        return np.where(home >= 0, found, -1)

    def segments(self, table: pa.Table) -> tuple[Rows, Rows, Rows, Rows]:
        """Rows, starts, ends and threads of the segments of spans that name their thread, by thread and start."""
        ids = pc.binary_join_element_wise(table["trace_id"], table["span_id"], "/")
        row = np.asarray(pc.fill_null(pc.index_in(ids, value_set=self.spans.ids), -1), dtype=np.int64)
        kept = np.flatnonzero(row >= 0)
        kept = kept[self.threaded[row[kept]]]
        start, end = np.asarray(table["start_ns"])[kept], np.asarray(table["end_ns"])[kept]
        group = self.thread[row[kept]]
        by = np.lexsort((start, group))
        return row[kept][by], start[by], end[by], group[by]

    def connections(self, events: pa.Table, home: Rows) -> tuple[Rows, Rows, Rows]:
        """Rows of client spans that name their peer's address, their groups (process and peer), and events' groups."""
        client = np.asarray(pc.is_in(self.spans.table["kind"], value_set=pa.array(["CLIENT", "PRODUCER"])))
        rows = np.flatnonzero(client & (self.home >= 0) & (self.spans.end > self.spans.start))
        peers = _peers(self.spans.table.take(pa.array(rows)))
        named = np.asarray(pc.is_valid(peers))
        rows, peers = rows[named], peers.filter(pa.array(named))
        remote = events["remote"].combine_chunks()
        names = pc.unique(peers)
        at = np.asarray(pc.fill_null(pc.index_in(remote.dictionary, value_set=names), -1), dtype=np.int64)
        width = max(len(names), 1)
        group = self.home[rows] * width + np.asarray(pc.index_in(peers, value_set=names), dtype=np.int64)
        code = at[np.asarray(remote.indices)] if len(at) else np.full(len(home), -1, np.int64)
        pairs, dense = np.unique(group, return_inverse=True)
        wanted = np.where((code >= 0) & (home >= 0), home * width + code, -1)
        place = np.minimum(np.searchsorted(pairs, wanted), max(len(pairs) - 1, 0))
        known = (wanted >= 0) & (pairs[place] == wanted if len(pairs) else False)
        return rows, dense.astype(np.int64), np.where(known, place, -1)


def homes(spans: Ordered, thread: pa.Array, processes: pa.Table) -> Homes:
    """Read processes and threads off the spans; `thread` names each row's as `segments.threads` does."""
    code = np.asarray(thread.dictionary_encode().indices, dtype=np.int64)
    # rows of one thread agree in all that is read here, so one of each is enough
    _, first = np.unique(code, return_index=True)
    examples = spans.table.take(pa.array(first))
    of_code, keys = _homes(examples)
    stated = pc.coalesce(column(examples, "attributes", "thread.id"), column(examples, "attributes", "thread.name"))
    threaded = np.asarray(pc.is_valid(stated)) & (of_code >= 0)
    home = of_code[code]
    outer = (spans.parent < 0) | (home[np.where(spans.parent >= 0, spans.parent, 0)] != home)
    known = processes.slice(0, MOST_PIDS).to_pylist()
    return Homes(
        spans, home, code, threaded[code], outer & (home >= 0), _by_pid(known, keys),
        {one["pid"]: one["parent"] for one in known if one["pid"] != one["parent"]},
    )  # fmt: skip


def _homes(table: pa.Table) -> tuple[Rows, dict[int, tuple[str, str]]]:
    """Home per row, -1 for the recording proxy's spans, and per home its service and the pid that it states."""
    names = [table["service"].combine_chunks(), column(table, "resource", "process.pid")]
    names += [column(table, "resource", "host.name"), column(table, "resource", "service.instance.id")]
    joined = pc.binary_join_element_wise(*names, "\0", null_handling="replace", null_replacement="").dictionary_encode()
    edge = np.asarray(pc.fill_null(pc.equal(column(table, "attributes", "butfor.edge"), "true"), fill_value=False))
    home = np.where(edge, -1, np.asarray(joined.indices, dtype=np.int64))
    texts = [str(text).split("\0") for text in joined.dictionary.to_pylist()]
    return home, {at: (texts[at][0], texts[at][1]) for at in np.unique(home[home >= 0]).tolist()}


def _by_pid(processes: list[dict[str, Any]], keys: Mapping[int, tuple[str, str]]) -> dict[int, int]:
    """Homes of processes by service and pid, else by a pid that only one service states, else a service's only one."""
    exact: dict[tuple[str, str], int] = {}
    of_service: dict[str, set[int]] = {}
    of_pid: dict[str, set[int]] = {}
    for home, (service, pid) in keys.items():
        exact.setdefault((service, pid), home)
        of_service.setdefault(service, set()).add(home)
        of_pid.setdefault(pid, set()).add(home)
    found = {}
    for one in processes:
        pids = [str(one[name]) for name in ("inner_pid", "pid") if one[name]]
        choices = [
            *({exact[one["service"], pid]} for pid in pids if (one["service"], pid) in exact),
            *(of_pid.get(pid, set()) for pid in pids if not one["service"]),
            of_service.get(one["service"], set()),
        ]
        only = next((choice for choice in choices if len(choice) == 1), None)
        if only:
            found[one["pid"]] = next(iter(only))
    return found


def _encoded(values: pa.ChunkedArray) -> tuple[list[int], Rows]:
    """Distinct values and codes."""
    encoded = values.combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), np.asarray(encoded.indices, dtype=np.int64)


def _commonest(code: Rows, value: Rows, size: int) -> Rows:
    """Per code its most frequent value, -1 left out; -1 where there is none."""
    found = np.full(size, -1, np.int64)
    kept = value >= 0
    if not kept.any():
        return found
    width = int(value.max()) + 1
    counted = pa.array(code[kept] * width + value[kept]).value_counts()
    pair, count = np.asarray(counted.field(0)), np.asarray(counted.field(1))
    by = np.lexsort((-pair, count))  # of equal counts the lower value comes last and stays
    found[pair[by] // width] = pair[by] % width
    return found


def _peers(table: pa.Table) -> pa.Array:
    """`address:port` of each span's peer as the kernel writes it; null where the span does not say it."""
    host = pc.coalesce(
        column(table, "attributes", "network.peer.address"), column(table, "attributes", "net.peer.ip"),
        column(table, "attributes", "server.address"), column(table, "attributes", "net.peer.name"),
    )  # fmt: skip
    port = pc.coalesce(
        column(table, "attributes", "network.peer.port"), column(table, "attributes", "server.port"),
        column(table, "attributes", "net.peer.port"),
    )  # fmt: skip
    host = pc.if_else(pc.equal(host, "localhost"), "127.0.0.1", host)
    inet6 = pc.and_(pc.match_substring(host, ":"), pc.invert(pc.starts_with(host, "[")))
    bracketed = pc.binary_join_element_wise("[", host, "]", "")
    return pc.binary_join_element_wise(pc.if_else(inet6, bracketed, host), port, ":")
