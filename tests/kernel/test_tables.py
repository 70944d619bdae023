"""Columns say what records hold; clocks convert with bounds."""

import time

import numpy as np
import pyarrow as pa
from butfor_agent.clocks import Clock, Sample
from butfor_agent.tables import SCHEMA, Tables
from hypothesis import given
from hypothesis import strategies as st

KINDS = [
    "NONE",
    "CONNECT",
    "OPEN",
    "OTHER_CALL",
    "ABANDON",
    "RESET_RECEIVED",
    "TCP_STATE",
    "EXIT",
    "SIGNAL",
    "OOM_KILL",
    "EXCEPTION",
]
KIND = {f"KIND_{name}": at for at, name in enumerate(KINDS)}
DTYPE = np.dtype(
    [("time_ns", "<u8"), ("duration_ns", "<u8"), ("value", "<i8"), ("cgroup", "<u8"), ("started_ns", "<u8"), ("socket", "<u8"),
     ("argument", "<u8", (2,)), ("kind", "<u4"), ("call", "<u4"), ("cpu", "<u4"), ("pid", "<u4"), ("tid", "<u4"), ("inner_pid", "<u4"),
     ("inner_tid", "<u4"), ("descriptor", "<i4"), ("user_stack", "<i4"), ("kernel_stack", "<i4"), ("trace_id", "V16"),
     ("span_id", "V8"), ("join", "u1"), ("miss", "u1"), ("family", "u1"), ("socket_type", "u1"), ("local_port", "<u2"),
     ("remote_port", "<u2"), ("local_address", "V16"), ("remote_address", "V16"), ("comm", "S16"), ("path", "S104")]
)  # fmt: skip
TABLES = Tables(KIND, {"JOIN_NONE": 0, "JOIN_THREAD": 1, "JOIN_SOCKET": 2}, {"MISS_NO_SLOT": 0, "MISS_NULL": 2})


def records(raw: bytes) -> np.ndarray:
    events = np.frombuffer(raw, DTYPE).copy()
    events["kind"] %= len(KINDS)
    return events


@given(st.integers(0, 3).flatmap(lambda n: st.binary(min_size=n * DTYPE.itemsize, max_size=n * DTYPE.itemsize)))
def test_any_records_become_rows_that_say_the_same(raw):
    events = records(raw)
    rows = pa.Table.from_batches([TABLES.batch(events, Clock())], SCHEMA).to_pylist()
    assert len(rows) == len(events)
    for row, event in zip(rows, events, strict=True):
        assert row["kind"] == KINDS[event["kind"]].lower()
        assert row["value"] == event["value"]
        assert row["trace_id"] in ("", bytes(event["trace_id"]).hex())
        assert (row["errno"] != "") == (1 <= event["kind"] <= 3 and event["value"] < 0)


def one(**fields):
    event = np.zeros(1, DTYPE)
    event["call"] = 0xFFFFFFFF
    for name, value in fields.items():
        event[name] = value
    return TABLES.batch(event, Clock()).to_pylist()[0]


def test_what_is_a_failure():
    assert one(kind=KIND["KIND_CONNECT"], value=-111)["errno"] == "ECONNREFUSED"
    assert one(kind=KIND["KIND_CONNECT"], value=-111)["failure"]
    assert not one(kind=KIND["KIND_CONNECT"], value=0)["failure"]
    assert one(kind=KIND["KIND_ABANDON"])["failure"]
    assert one(kind=KIND["KIND_EXIT"], value=256)["failure"]
    assert not one(kind=KIND["KIND_EXIT"])["failure"]
    assert one(kind=KIND["KIND_TCP_STATE"], value=7, argument=(2, 0))["failure"]
    assert not one(kind=KIND["KIND_TCP_STATE"], value=7, argument=(1, 0))["failure"]


def test_addresses_are_written_as_people_write_them():
    v4 = np.frombuffer(b"\x7f\0\0\x01" + bytes(12), "V16")[0]
    v6 = np.frombuffer(bytes(15) + b"\x01", "V16")[0]
    assert one(family=2, remote_address=v4, remote_port=80)["remote"] == "127.0.0.1:80"
    assert one(family=10, remote_address=v6, remote_port=80)["remote"] == "[::1]:80"
    assert one(family=1, path=b"/run/s.sock")["path"] == "/run/s.sock"


def test_a_call_is_named_and_none_is_empty():
    assert one(call=0xFFFFFFFF)["call"] == ""
    assert one(call=511)["call"] == "511"


def test_times_are_wall_times_within_the_bound():
    clock = Clock()
    before = time.time_ns()
    at = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    after = time.time_ns()
    wall = int(clock.wall(np.array([at], np.uint64))[0])
    assert before - clock.bound_ns <= wall <= after + clock.bound_ns


def test_a_clock_that_was_set_converts_each_time_by_what_held_then():
    clock = Clock()
    clock.samples = [Sample(0, 1_000, 1), Sample(100, 5_000, 1)]
    assert clock.wall(np.array([50, 100, 150], np.uint64)).tolist() == [1_050, 5_100, 5_150]
