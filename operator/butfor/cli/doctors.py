"""`butfor doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import typer

from butfor.ports.caches import cache_root
from butfor.ports.sandboxes import detect

NEEDED = (("git", "git"), ("bash", "bash"), ("setpriv", "util-linux"), ("prlimit", "util-linux"))
OPTIONAL = ("two users", "kernel BTF")
"""What less is done without; a report says so where it matters."""


def doctor() -> None:
    """Say what works here: sandbox, git, interpreters, and (for the kernel's evidence) BTF and tracefs."""
    sandbox = detect()
    apart = "a service cannot reach the program that records it" if sandbox.separates else sandbox.shortcomings()[0]
    checks = [
        ("sandbox", sandbox.kind != "none", sandbox.describe()),
        ("two users", sandbox.separates, apart),
        *(
            (name, shutil.which(name) is not None, shutil.which(name) or f"install {package}")
            for name, package in NEEDED
        ),
        ("python", True, f"{sys.version.split()[0]} at {sys.executable}"),
        ("cache", True, str(cache_root())),
        ("kernel BTF", Path("/sys/kernel/btf/vmlinux").exists(), "read by eBPF probes; not used by this version"),
    ]
    for name, works, detail in checks:
        typer.echo(f"{'yes' if works else 'no ':4}{name:12}{detail}")
    raise typer.Exit(0 if all(works for name, works, _ in checks if name not in OPTIONAL) else 1)
