"""`butfor doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import typer

from butfor.ports.caches import cache_root
from butfor.ports.sandboxes import detect


def doctor() -> None:
    """Say what works here: sandbox, git, interpreters, and (for the kernel's evidence) BTF and tracefs."""
    checks = [
        ("sandbox", detect().kind != "none", detect().describe()),
        ("git", shutil.which("git") is not None, shutil.which("git") or "install the package git"),
        ("python", True, f"{sys.version.split()[0]} at {sys.executable}"),
        ("cache", True, str(cache_root())),
        ("kernel BTF", Path("/sys/kernel/btf/vmlinux").exists(), "read by eBPF probes; not used by this version"),
    ]
    for name, works, detail in checks:
        typer.echo(f"{'yes' if works else 'no ':4}{name:12}{detail}")
    raise typer.Exit(0 if all(works for name, works, _ in checks if name != "kernel BTF") else 1)
