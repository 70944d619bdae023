"""Kernel events built by hand, in a compact form."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
from telemetries import BASE, MS, hexed

from butfor.evidence.kernels import KERNEL, PROCESSES
from butfor.evidence.telemetry import Telemetry

_EMPTY = {field.name: "" if pa.types.is_dictionary(field.type) else 0 for field in KERNEL}


def event(at: float, kind: str = "connect", trace: str = "", name: str = "", **more: Any) -> dict[str, Any]:
    """An event at `at` ms; with `trace` and `name` the kernel read the thread's record, or what `join` says."""
    ids = {"trace_id": hexed(trace, 32), "span_id": hexed(name, 16)} if trace else {"trace_id": "", "span_id": ""}
    defaults = {"kind": kind, "call": kind, "errno": "ECONNREFUSED", "failure": True, "pid": 100, "tid": 100,
                "inner_pid": 1, "inner_tid": 1, "join": "thread" if trace else "none", "user_stack": -1,
                "miss": "" if trace else "no_slot", "path_cut": False}  # fmt: skip
    return {**_EMPTY, **defaults, **ids, "time_ns": BASE + int(at * MS), **more}


def process(pid: int = 100, service: str = "shop", **more: Any) -> dict[str, Any]:
    return {**dict.fromkeys(PROCESSES.names), "pid": pid, "inner_pid": 1, "parent": 0, "service": service, **more}


def watched(told: Telemetry, events: list[dict[str, Any]], processes: list[dict[str, Any]] | None = None) -> Telemetry:
    """The telemetry with what the kernel saw beside."""
    known = [process()] if processes is None else processes
    return dataclasses.replace(
        told, kernel=pa.Table.from_pylist(events, KERNEL), processes=pa.Table.from_pylist(known, PROCESSES)
    )
