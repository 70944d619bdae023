"""Boots a kernel in qemu on one emulated CPU and reads what its init says on the console."""

import json
import platform
import shutil
import subprocess

import guest

_QEMU = "qemu-system-x86_64"
_SECONDS = 600


def lacking():
    """Why nothing can be booted here; empty where it can."""
    if platform.machine() != "x86_64":
        return "the image is made of this machine's files, and the kernels are for x86_64"
    return "" if shutil.which(_QEMU) else "apt-get install qemu-system-x86"


def booted(kernel, image, ways):
    """What the guest said of each way; a row that only says why where it said nothing."""
    done = subprocess.run(
        ["nice", "-n", "10", _QEMU, "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "2048", "-nodefaults",
         "-nographic", "-no-reboot", "-serial", "stdio", "-kernel", kernel, "-initrd", image,
         "-append", f"console=ttyS0 quiet panic=-1 mitigations=off psi=1 rdinit=/init ways={','.join(ways)}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False,
    )  # fmt: skip
    rows = [json.loads(line.split(guest.MARK, 1)[1]) for line in done.stdout.splitlines() if guest.MARK in line]
    last = (done.stdout.strip().splitlines() or [done.stderr.strip() or "nothing"])[-1]
    silent = [way for way in ways if way not in {row["way"] for row in rows}]
    return rows + [{"way": way, "why": f"the guest ended with: {last[:200]}"} for way in silent]
