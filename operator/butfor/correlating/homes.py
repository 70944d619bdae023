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

    def of_pids(self, pids: list[int], learned: Mapping[int, int]) -> Rows:
        """The home of each process: what its exact events said (`learned`), else its service and pid; -1: unknown."""
        known = {**self.by_pid, **learned}
        found = [self._inherited(pid, known) if i < MOST_PIDS else -1 for i, pid in enumerate(pids)]
        return np.array(found, np.int64)

    def _inherited(self, pid: int, known: Mapping[int, int]) -> int:
        """A child does what its parent's requests made it for."""
        for _ in range(_MOST_ANCESTORS):
            if pid in known:
                return known[pid]
            if pid not in self.parents:
                break
            pid = self.parents[pid]
        return -1

    def segments(self, table: pa.Table) -> tuple[Rows, Rows, Rows, Rows, Rows]:
        """Rows, starts, ends and groups of the segments, by group and start; and each thread's group or -1."""
        row = np.asarray(table["row"], dtype=np.int64)
        code = self.thread[row]
        group = np.zeros(len(row), np.int64)
        group[1:] = np.cumsum(np.diff(code) != 0)  # a thread's segments lie together
        of_thread = np.full(int(self.thread.max(initial=-1)) + 1, -1, np.int64)
        of_thread[code] = group
        return row, np.asarray(table["start_ns"]), np.asarray(table["end_ns"]), group, of_thread

    def connections(self, remote: pa.DictionaryArray) -> tuple[Rows, Rows, Rows, Rows, int]:
        """Client spans that name their peer's address: rows and groups; all groups as numbers of process and peer.

        And per distinct `remote` of the events its peer or -1; process * peers + peer is a number in the third array.
        """
        client = np.asarray(pc.is_in(self.spans.table["kind"], value_set=pa.array(["CLIENT", "PRODUCER"])))
        rows = np.flatnonzero(client & (self.home >= 0) & (self.spans.end > self.spans.start))
        peers = _peers(self.spans.table.take(pa.array(rows)))
        named = np.asarray(pc.is_valid(peers))
        rows, peers = rows[named], peers.filter(pa.array(named))
        names = pc.unique(peers)
        width = max(len(names), 1)
        peer = np.asarray(pc.fill_null(pc.index_in(remote.dictionary, value_set=names), -1), dtype=np.int64)
        number = self.home[rows] * width + np.asarray(pc.index_in(peers, value_set=names), dtype=np.int64)
        pairs, group = np.unique(number, return_inverse=True)
        return rows, group.astype(np.int64), pairs, peer, width


def homes(spans: Ordered, thread: pa.Array, processes: pa.Table) -> Homes:
    """Read processes and threads off the spans; `thread` names each row's as `segments.threads` does."""
    code = np.asarray(thread.dictionary_encode().indices, dtype=np.int64)
    # rows of one thread agree in all that is read here, so one of each is enough; codes count up as they appear
    first = np.flatnonzero(np.diff(np.maximum.accumulate(code), prepend=-1))
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
