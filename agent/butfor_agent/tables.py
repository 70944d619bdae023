"""Records of the ring as Arrow columns: `kernel.arrow`. Every step is a whole column; no object is made per event."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import butfor.evidence.arrows  # noqa: F401 - pyarrow's first conversion would import pandas, while the ring fills
from butfor_agent import calls
from butfor_agent.clocks import Clock
from butfor_agent.pythons import Place

_TEXT = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("time_ns", pa.int64()),  # Unix nanoseconds, at the end of what happened
        ("duration_ns", pa.int64()),
        ("kind", _TEXT),  # connect, accept, ..., off_cpu, exit, signal
        ("call", _TEXT),  # the system call, empty where it was none
        ("value", pa.int64()),  # return value, signal, state, exit code
        ("errno", _TEXT),  # ECONNREFUSED, empty where the call did not fail
        ("failure", pa.bool_()),  # design.md, failure event
        ("cpu", pa.int32()),
        ("pid", pa.int64()),  # host ids
        ("tid", pa.int64()),
        ("inner_pid", pa.int64()),  # in the process's own pid namespace
        ("inner_tid", pa.int64()),
        ("started_ns", pa.int64()),  # CLOCK_BOOTTIME
        ("cgroup", pa.uint64()),
        ("comm", _TEXT),
        ("descriptor", pa.int32()),
        ("path", _TEXT),
        ("path_cut", pa.bool_()),
        ("family", _TEXT),  # inet, inet6, unix
        ("socket", pa.uint64()),
        ("local", _TEXT),  # address:port
        ("remote", _TEXT),
        ("file", _TEXT),  # of an exception's frame
        ("line", pa.int32()),
        ("function", _TEXT),
        ("argument_0", pa.uint64()),
        ("argument_1", pa.uint64()),
        ("user_stack", pa.int32()),  # key in stacks.arrow, -1 for none
        ("kernel_stack", pa.int32()),
        ("trace_id", _TEXT),  # hex, empty where there was none
        ("span_id", _TEXT),
        ("join", _TEXT),  # thread, socket, none
        ("miss", _TEXT),  # why the thread's context was not read
    ]
)
_NONE = np.empty(0, np.intp)
_FAMILIES = {0: "", 1: "unix", 2: "inet", 10: "inet6"}
_TCP_CLOSE = 7
_SYN_SENT = 2
_ALWAYS_FAILURES = ("ABANDON", "RESET_RECEIVED", "SIGNAL", "OOM_KILL")


class Tables:
    """Turns batches into record batches. `kinds`, `joins` and `misses` are the enums of the object's BTF."""

    def __init__(self, kinds: dict[str, int], joins: dict[str, int], misses: dict[str, int]) -> None:
        self.kinds = kinds
        self._kind_names = _names(kinds, "KIND_")
        self._join_names = _names(joins, "JOIN_")
        self._miss_names = _names(misses, "MISS_")

    def batch(
        self, events: NDArray[Any], clock: Clock, raised: NDArray[np.intp] = _NONE, places: Sequence[Place] = ()
    ) -> pa.RecordBatch:
        """One record batch in the schema above, in the order of the ring; `places` are those of the rows `raised`."""
        joined = events["join"] != 0
        columns = {
            "time_ns": clock.wall(events["time_ns"]), "duration_ns": events["duration_ns"].astype(np.int64),
            "kind": _coded(events["kind"], self._kind_names), "call": _coded(events["call"], _Calls()),
            "value": events["value"], "errno": _coded(self._errors(events), _Errors()),
            "failure": self.failures(events), "cpu": events["cpu"].astype(np.int32),
            "pid": events["pid"].astype(np.int64), "tid": events["tid"].astype(np.int64),
            "inner_pid": events["inner_pid"].astype(np.int64), "inner_tid": events["inner_tid"].astype(np.int64),
            "started_ns": events["started_ns"].astype(np.int64), "cgroup": events["cgroup"],
            "comm": _texts(events["comm"]), "descriptor": events["descriptor"], "path": _texts(events["path"]),
            "path_cut": _full(events["path"]),
            "family": _coded(events["family"], _FAMILIES), "socket": events["socket"],
            "local": _endpoints(events, "local"), "remote": _endpoints(events, "remote"),
            **_frames(len(events), raised, places),
            "argument_0": events["argument"][:, 0], "argument_1": events["argument"][:, 1],
            "user_stack": events["user_stack"], "kernel_stack": events["kernel_stack"],
            "trace_id": _hex(events["trace_id"]), "span_id": _hex(events["span_id"]),
            "join": _coded(events["join"], self._join_names),
            "miss": _coded(np.where(joined, 255, events["miss"]), {**self._miss_names, 255: ""}),
        }  # fmt: skip
        arrays = [_arrow(columns[field.name], field.type) for field in SCHEMA]
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)

    def failures(self, events: NDArray[Any]) -> NDArray[np.bool_]:
        """Failed calls, kept socket errors, clients that gave up, resets, fatal signals, OOM kills and bad exits."""
        kind, value = events["kind"], events["value"]
        always = np.isin(kind, [self.kinds[f"KIND_{name}"] for name in _ALWAYS_FAILURES])
        from_syn = events["argument"][:, 0] == _SYN_SENT
        refused = (kind == self.kinds["KIND_TCP_STATE"]) & (value == _TCP_CLOSE) & from_syn
        exits = (kind == self.kinds["KIND_EXIT"]) & (value != 0)
        failed: NDArray[np.bool_] = (self._is_call(kind) & (value < 0)) | always | refused | exits
        return failed

    def _is_call(self, kind: NDArray[Any]) -> NDArray[np.bool_]:
        """System calls have the kinds up to OTHER_CALL."""
        calls_only: NDArray[np.bool_] = (kind >= 1) & (kind <= self.kinds["KIND_OTHER_CALL"])
        return calls_only

    def _errors(self, events: NDArray[Any]) -> NDArray[np.int64]:
        return np.where(self._is_call(events["kind"]) & (events["value"] < 0), -events["value"], 0)


def _frames(size: int, raised: NDArray[np.intp], places: Sequence[Place]) -> dict[str, Any]:
    """The columns of exception frames: empty but for the rows that are one."""
    lines = np.zeros(size, np.int32)
    known = list(dict.fromkeys([Place("", 0, ""), *places]))
    codes = np.zeros(size, np.int32)
    if len(places):
        order = {place: at for at, place in enumerate(known)}
        codes[raised] = [order[place] for place in places]
        lines[raised] = [place.line for place in places]
    columns = {"file": [place.file for place in known], "function": [place.function for place in known]}
    texts = {name: pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(found)) for name, found in columns.items()}
    return {**texts, "line": lines}


class _Calls(dict[int, str]):
    def __missing__(self, number: int) -> str:
        return "" if number == 0xFFFFFFFF else calls.name_of(number)


class _Errors(dict[int, str]):
    def __missing__(self, number: int) -> str:
        return errno.errorcode.get(number, str(number)) if number else ""


def _names(constants: dict[str, int], prefix: str) -> dict[int, str]:
    return {value: name.removeprefix(prefix).lower() for name, value in constants.items()}


def _coded(values: NDArray[Any], names: dict[int, str]) -> pa.DictionaryArray:
    """Numbers as dictionary-encoded text: each distinct number is named once."""
    found = pa.array(np.ascontiguousarray(values)).dictionary_encode()
    texts = pa.array([_named(names, value) for value in found.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(found.indices, texts)


def _same(size: int, text: str) -> pa.DictionaryArray:
    """A column that says the same in every row."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(size, np.int32)), pa.array([text], pa.string()))


def _named(names: dict[int, str], value: int) -> str:
    try:
        return names[value]
    except KeyError:
        return str(value)


def _encoded(column: NDArray[Any]) -> tuple[pa.Array, list[bytes]]:
    """Places and distinct values of a column of fixed-size bytes: hashed by Arrow, since numpy would sort them."""
    packed = np.ascontiguousarray(column)
    kind = pa.binary(packed.dtype.itemsize)
    fixed = pa.Array.from_buffers(kind, len(packed), [None, pa.py_buffer(packed)])
    found = fixed.dictionary_encode()
    return found.indices, found.dictionary.to_pylist()


def _texts(values: NDArray[Any]) -> pa.DictionaryArray:
    places, distinct = _encoded(values)
    texts = [value.partition(b"\0")[0].decode("utf-8", "replace") for value in distinct]
    return pa.DictionaryArray.from_arrays(places, pa.array(texts, pa.string()))


def _full(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether the text reaches the byte before the closing NUL: the kernel cut it there."""
    octets = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.dtype.itemsize)
    full: NDArray[np.bool_] = octets[:, -2] != 0
    return full


def _hex(values: NDArray[Any]) -> pa.DictionaryArray:
    if not np.ascontiguousarray(values).view(np.uint64).any():
        return _same(len(values), "")
    places, distinct = _encoded(values)
    texts = [value.hex() if any(value) else "" for value in distinct]
    return pa.DictionaryArray.from_arrays(places, pa.array(texts, pa.string()))


def _endpoints(events: NDArray[Any], side: str) -> pa.DictionaryArray:
    if not events["family"].any():
        return _same(len(events), "")
    names = [f"{side}_address", f"{side}_port", "family"]
    packed = np.empty(len(events), np.dtype([(name, events.dtype[name]) for name in names]))
    for name in names:
        packed[name] = events[name]
    places, distinct = _encoded(packed)
    rows = np.frombuffer(b"".join(distinct), packed.dtype)
    texts = [_endpoint(*(row[name] for name in names)) for row in rows]
    return pa.DictionaryArray.from_arrays(places, pa.array(texts, pa.string()))


def _endpoint(address: Any, port: int, family: int) -> str:
    raw = bytes(address)
    if family == socket.AF_INET:
        return f"{socket.inet_ntop(socket.AF_INET, raw[:4])}:{port}"
    if family == socket.AF_INET6:
        return f"[{socket.inet_ntop(socket.AF_INET6, raw)}]:{port}"
    return ""


def _arrow(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    return pa.array(np.ascontiguousarray(values), kind)
