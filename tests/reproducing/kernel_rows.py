"""Recordings of the kernel's agent, made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from butfor.evidence.kernels import KERNEL, PROCESSES

_EMPTY: dict[str, Any] = {field.name: "" if pa.types.is_dictionary(field.type) else 0 for field in KERNEL}


def row(trace: str, **more: Any) -> dict[str, Any]:
    """A refused connect of process 1 in a trace (a hex digit)."""
    told = {"kind": "connect", "call": "connect", "errno": "ECONNREFUSED", "failure": True, "family": "inet", "pid": 1,
            "join": "thread", "trace_id": trace * 32, "span_id": trace * 16, "user_stack": -1}  # fmt: skip
    return {**_EMPTY, "path_cut": False, **told, **more}


def process(pid: int, service: str = "web", context: str = "thread record") -> dict[str, Any]:
    return {**dict.fromkeys(PROCESSES.names), "pid": pid, "service": service, "context": context}


def recorded(folder: Path, rows: list[dict[str, Any]], processes: list[dict[str, Any]]) -> None:
    """Write the two tables that tell whose failures they are."""
    for name, schema, content in (("kernel", KERNEL, rows), ("processes", PROCESSES, processes)):
        with pa.ipc.new_stream(str(folder / f"{name}.arrow"), schema) as writer:
            writer.write_table(pa.Table.from_pylist(content, schema))
