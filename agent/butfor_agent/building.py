"""Where the BPF objects are: built once per kernel and source into the cache, never kept in git."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

PROBES = ("calls", "lifecycle", "tcp", "waiting")
GATED = ("exceptions",)
"""Probes that are loaded only when asked for: services raise and catch all the time."""
_BTF = Path("/sys/kernel/btf/vmlinux")


class BuildError(Exception):
    """The objects are not there and cannot be built; the message says what to install."""


def sources() -> Path:
    """The folder with the probes' C: beside the package where it is installed, at the top of a checkout else."""
    inside = Path(__file__).parent / "bpf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "bpf"


def objects(cache: Path) -> Path:
    """The folder with one `<probe>.bpf.o` per probe; built there when absent. Raises BuildError."""
    folder = cache / "bpf" / _key()
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            _build(folder)
            (folder / "done").touch()
    return folder


def _key() -> str:
    if not _BTF.exists():
        raise BuildError(lacking())
    digest = hashlib.sha256(_BTF.read_bytes())
    for path in sorted(sources().glob("*")):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def lacking() -> str:
    """Why the probes cannot be built on this machine; empty where they can."""
    if not _BTF.exists():
        return "the kernel has no BTF (/sys/kernel/btf/vmlinux): CO-RE programs cannot be built or loaded"
    if not (_clang() and _bpftool() and shutil.which("make") and Path("/usr/include/bpf/bpf_helpers.h").exists()):
        return "the probes cannot be compiled; install: clang-16 bpftool libbpf-dev make"
    return ""


def _build(folder: Path) -> None:
    if reason := lacking():
        raise BuildError(reason)
    done = subprocess.run(
        ["make", "-s", "-C", str(sources()), f"OUT={folder}", f"CLANG={_clang()}", f"BPFTOOL={_bpftool()}"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise BuildError(f"the probes do not compile: {last}")


def _clang() -> str | None:
    names = ["clang", *(f"clang-{version}" for version in range(21, 13, -1))]
    return next((found for name in names if (found := shutil.which(name))), None)


def _bpftool() -> str | None:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return shutil.which("bpftool", path=path)
