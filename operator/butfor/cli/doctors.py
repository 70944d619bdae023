"""`butfor doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import shutil
import sys

import typer

from butfor.ports.caches import cache_root
from butfor.ports.examinations import Finding, examined, works
from butfor.ports.sandboxes import detect

NEEDED = (("git", "git"), ("bash", "bash"), ("setpriv", "util-linux"), ("prlimit", "util-linux"))
OPTIONAL = ("two users",)
"""What less is done without; a report says so where it matters."""


def doctor() -> None:
    """Say what works here: sandbox, git, interpreters, and part by part what the kernel's evidence needs.

    Exit code 1 where something is missing that every investigation needs; the kernel's evidence is none of that.
    """
    checks = needed()
    for finding in checks:
        _say(finding)
    kernel = examined()
    have = works(kernel)
    typer.echo(f"\nkernel evidence: {'yes' if have else 'no; everything else works without it'}")
    for finding in kernel:
        _say(finding)
    raise typer.Exit(0 if all(one.state == "yes" for one in checks if one.name not in OPTIONAL) else 1)


def needed() -> list[Finding]:
    """What every investigation needs."""
    sandbox = detect()
    apart = "a service cannot reach the program that records it" if sandbox.separates else sandbox.shortcomings()[0]
    return [
        Finding("sandbox", "yes" if sandbox.kind != "none" else "no", sandbox.describe()),
        Finding("two users", "yes" if sandbox.separates else "no", apart),
        *(_program(name, package) for name, package in NEEDED),
        Finding("python", "yes", f"{sys.version.split()[0]} at {sys.executable}"),
        Finding("cache", "yes", str(cache_root())),
    ]


def _program(name: str, package: str) -> Finding:
    found = shutil.which(name)
    return Finding(name, "yes" if found else "no", found or f"install {package}")


def _say(finding: Finding) -> None:
    typer.echo(f"{finding.state:8}{finding.name:16}{finding.detail}")
