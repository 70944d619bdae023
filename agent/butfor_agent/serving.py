"""The agent as a process of its own: one JSON command per line on stdin, one answer per line on stdout.

    {"do": "watch", "pid": 1}      watch a process and what it starts; "service": whose they are unless they say
    {"do": "forget", "pid": 1}
    {"do": "open", "folder": "/f"} write kernel.arrow there from now on
    {"do": "close"}                end it, write stacks.arrow and processes.arrow beside it
    {"do": "status"}

An answer is {"ok": true, ...} or {"ok": false, "why": "one line"}. When stdin ends, everything is detached.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from butfor_agent import processes
from butfor_agent.files import store
from butfor_agent.libbpf import BpfError
from butfor_agent.sessions import Session


class Server:
    """Carries out commands on one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._folder: Path | None = None
        self._misses: dict[str, int] = {}
        self._doing: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "watch": self._watch, "forget": self._forget, "open": self._open, "close": self._close,
            "status": self._status,
        }  # fmt: skip

    def serve(self, lines: IO[str], answers: IO[str]) -> None:
        """Until the lines end."""
        print(json.dumps(self._status({})), file=answers, flush=True)
        for line in lines:
            print(json.dumps(self.answer(line)), file=answers, flush=True)

    def answer(self, line: str) -> dict[str, Any]:
        """One command's answer; whatever is wrong with it is said, never raised."""
        try:
            command = json.loads(line)
            return {"ok": True, **self._doing[command["do"]](command)}
        except (ValueError, KeyError, TypeError, OSError, pa.ArrowException, BpfError) as error:
            said = (str(error).splitlines() or [""])[0][:300]
            return {"ok": False, "why": f"{type(error).__name__}: {said}"}

    def _watch(self, command: dict[str, Any]) -> dict[str, Any]:
        self._session.watch(int(command["pid"]), str(command.get("service", "")))
        return {}

    def _forget(self, command: dict[str, Any]) -> dict[str, Any]:
        self._session.forget(int(command["pid"]))
        return {}

    def _open(self, command: dict[str, Any]) -> dict[str, Any]:
        folder = Path(command["folder"])
        self._session.open(folder / "kernel.arrow")
        self._folder, self._misses = folder, self._session.misses()
        return {}

    def _close(self, _: dict[str, Any]) -> dict[str, Any]:
        folder, self._folder = self._folder, None
        if folder is None:
            raise ValueError("nothing is open")
        found, seen = self._session.close()
        store(processes.table(seen), folder / "processes.arrow")
        store(self._session.stacks.table(), folder / "stacks.arrow")
        return {
            "events": found.written, "broken": found.broken, "losses": found.windows.listed(),
            "misses": _since(self._session.misses(), self._misses),
            "clock_bound_ns": self._session.clock.bound_ns, "clock_steps": self._session.clock_steps,
        }  # fmt: skip

    def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "probes": self._session.status.probes, "ways": self._session.status.ways}


def _since(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {name: count - before.get(name, 0) for name, count in now.items()}


def refuse(why: str) -> int:
    """Say in the protocol's form why there is no agent."""
    sys.stdout.write(json.dumps({"ok": False, "why": why}) + "\n")
    return 1
