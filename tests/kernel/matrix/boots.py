"""Boots a kernel in qemu on one emulated CPU and reads what its init says on the console."""

import contextlib
import json
import platform
import shutil
import subprocess
import tempfile

import guest
from butfor_agent import building

_QEMU = "qemu-system-x86_64"
_SECONDS = 1800


def lacking():
    """Why nothing can be booted here; empty where it can."""
    if platform.machine() != "x86_64":
        return "the image is made of this machine's files, and the kernels are for x86_64"
    return building.lacking() if shutil.which(_QEMU) else "apt-get install qemu-system-x86"


def booted(kernel, image, ways):
    """What the guest said of each way; a row that only says why where it said nothing."""
    command = [
        "nice", "-n", "10", _QEMU, "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "2048", "-nodefaults",
        "-nographic", "-no-reboot", "-serial", "stdio", "-kernel", kernel, "-initrd", image,
        "-append", f"console=ttyS0 quiet panic=-1 mitigations=off psi=1 rdinit=/init ways={','.join(ways)}",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as console:
        with contextlib.suppress(subprocess.TimeoutExpired):  # what it said until then counts
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=_SECONDS, check=False
            )
        console.seek(0)
        lines = console.read().decode("utf-8", "replace").splitlines()
    rows = [json.loads(line.split(guest.MARK, 1)[1]) for line in lines if guest.MARK in line]
    last = next((line for line in reversed(lines) if line.strip()), "nothing")
    silent = [way for way in ways if way not in {row["way"] for row in rows}]
    return rows + [{"way": way, "broken": True, "why": f"the guest ended with: {last[:200]}"} for way in silent]
