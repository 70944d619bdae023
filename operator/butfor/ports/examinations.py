"""What of the kernel's evidence this machine allows, and why: every answer from a real try, nothing is changed.

An answer is yes, no (with what to do), or unknown where it cannot be tried, which is mostly for want of root.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from butfor.errors import InfrastructureError
from butfor.ports import writers
from butfor.ports.kernels import Kernel

State = Literal["yes", "no", "unknown"]
_CAPABILITIES = {"bpf": 39, "perfmon": 38, "sys_admin": 21, "sys_ptrace": 19, "sys_resource": 24}
_WAYS = ("raw_tracepoint", "tracepoint", "tp_btf", "kprobe", "fentry", "uprobe", "perf")
_SECONDS = 60


@dataclass(frozen=True)
class Finding:
    """One line: what was tried, whether it works, and why or what to do."""

    name: str
    state: State
    detail: str


def examined() -> list[Finding]:
    """What kernel evidence needs, part by part, then whether all of it together works."""
    return [_btf(), _tracefs(), _capabilities(), _paranoid(), _library(), _compiler(), _writer(), *_ways(), _agent()]


def works(findings: list[Finding]) -> bool:
    """Whether kernel events can be had here."""
    return any(finding.name == "kernel events" and finding.state == "yes" for finding in findings)


def _btf() -> Finding:
    path = Path("/sys/kernel/btf/vmlinux")
    there = path.exists()
    return Finding("kernel BTF", "yes" if there else "no", str(path) if there else "CONFIG_DEBUG_INFO_BTF is not set")


def _tracefs() -> Finding:
    for path in (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing")):
        try:
            if (path / "events").is_dir():
                return Finding("tracefs", "yes", str(path))
        except PermissionError:
            return Finding("tracefs", "unknown", f"{path} can be read by root only")
    return Finding("tracefs", "no", "mount -t tracefs tracefs /sys/kernel/tracing (only plain tracepoints need it)")


def _capabilities() -> Finding:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        effective = int(next(line for line in lines if line.startswith("CapEff:")).split()[1], 16)
    except (OSError, StopIteration, ValueError, IndexError):
        return Finding("capabilities", "unknown", "/proc/self/status does not say")
    held = [name for name, bit in _CAPABILITIES.items() if effective >> bit & 1]
    enough = os.geteuid() == 0 and ("sys_admin" in held or {"bpf", "perfmon"} <= set(held))
    detail = ", ".join(f"cap_{name}" for name in held) or "none"
    return Finding("capabilities", "yes" if enough else "no", detail if enough else f"{detail}; run as root")


def _paranoid() -> Finding:
    try:
        level = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    except (OSError, ValueError):
        return Finding("perf events", "unknown", "the kernel does not say (perf_event_paranoid)")
    allowed = level < 0 or os.geteuid() == 0
    return Finding("perf events", "yes" if allowed else "no", f"kernel.perf_event_paranoid is {level}")


def _library() -> Finding:
    done = _run([sys.executable, "-c", _VERSION])
    return Finding("libbpf", "yes" if done else "no", done or "install libbpf1")


_VERSION = (
    "import ctypes as c; f = c.CDLL('libbpf.so.1').libbpf_version_string; f.restype = c.c_char_p; print(f().decode())"
)


def _compiler() -> Finding:
    clang = next((f for n in ("clang", *(f"clang-{v}" for v in range(21, 13, -1))) if (f := shutil.which(n))), None)
    bpftool = shutil.which("bpftool", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    headers = Path("/usr/include/bpf/bpf_helpers.h").exists()
    missing = [n for n, there in (("clang-16", clang), ("bpftool", bpftool), ("libbpf-dev", headers)) if not there]
    if missing:
        return Finding("probe compiler", "no", f"apt-get install {' '.join(missing)}")
    return Finding("probe compiler", "yes", f"{clang}, {bpftool}; used once per kernel")


def _writer() -> Finding:
    try:
        return Finding("span context", "yes", str(writers.built(sys.executable)))
    except InfrastructureError as error:
        return Finding("span context", "no", str(error))


def _ways() -> list[Finding]:
    try:
        answers = json.loads(_run([sys.executable, "-m", "butfor_agent", "--try"]))
    except ValueError:
        answers = {}
    found = [(way, answers.get(way) or ["unknown", "the agent cannot be started"]) for way in _WAYS]
    return [Finding(way, state, why) for way, (state, why) in found]


def _agent() -> Finding:
    try:
        with Kernel.start() as kernel:
            probes, ways = dict(kernel.probes), dict(kernel.ways)
    except InfrastructureError as error:
        return Finding("kernel events", "no", str(error))
    refused = [f"{name}: {why}" for name, why in probes.items() if why != "attached"]
    live = ", ".join(f"{name} by {ways.get(name, '?')}" for name, why in probes.items() if why == "attached")
    return Finding("kernel events", "yes", live + (f" (not {'; '.join(refused)})" if refused else ""))


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
