"""A first file system for a guest: this machine's Python, the agent, the built probes and `guest.py` as its init.

It is a cpio archive of the kernel's own format ("newc"; Documentation/driver-api/early-userspace/buffer-format.rst).
"""

import os
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import butfor_agent
import elftools
import numpy as np
import pyarrow as pa
from butfor_agent import building
from elftools.elf.elffile import ELFFile

import butfor
from butfor.ports import writers
from butfor.ports.caches import cache_root

_LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "ensurepip", "lib2to3", "site-packages", "include", "src"}
_USED = """
import json, select, socket, subprocess, sys
import butfor_agent.__main__, butfor_agent.libbpf, pyarrow.compute
butfor_agent.libbpf.library()
print(*(line.split()[-1] for line in open("/proc/self/maps")), sep="\\n")
print(*(file for module in sys.modules.values() if (file := getattr(module, "__file__", None))), sep="\\n")
"""


def build(path):
    """Write the image; `path` is replaced when it is whole."""
    guest = Path(__file__).with_name("guest.py").read_text()
    writer = writers.built(sys.executable)
    probes = building.objects(cache_root())
    script = f"#!{Path(sys.executable).resolve()}\n{guest}"
    part = path.with_suffix(".part")
    with part.open("wb") as stream:
        archive = _Archive(stream)
        for source in sorted(_files(writer)):
            # compiled modules hold only with the times of their sources
            archive.put(str(source), source.read_bytes(), stat.S_IFREG | 0o755, int(source.stat().st_mtime))
        for probe in sorted(probes.glob("*.bpf.o")):
            archive.put(f"/probes/{probe.name}", probe.read_bytes(), stat.S_IFREG | 0o644)
        archive.put("/paths", os.pathsep.join(_paths(writer)).encode(), stat.S_IFREG | 0o644)
        archive.put("/init", script.encode(), stat.S_IFREG | 0o755)
        archive.end()
    part.rename(path)


def _paths(writer):
    """What the guest's Python imports from, besides its own library."""
    return [str(writer), *(str(Path(module.__file__).parents[1]) for module in (butfor_agent, butfor, pa))]


def _files(writer):
    used = subprocess.run([sys.executable, "-c", _USED], capture_output=True, text=True, check=True).stdout.split("\n")
    found = {Path(name) for name in used if name.startswith("/") and Path(name).is_file()} | {
        Path(sys.executable).resolve()
    }
    found |= {name for path in found.copy() for name in _names(path)} | {_loader()}
    modules = [Path(module.__file__).parent for module in (elftools, np, pa, butfor_agent)]
    for top in [Path(sysconfig.get_paths()["stdlib"]), writer, *modules]:
        for path in top.rglob("*"):
            inner = path.relative_to(top)
            # of pyarrow's many libraries only those that are mapped, and nothing to link with
            unused = (".so" in path.name and top.name == "pyarrow") or path.suffix == ".a"
            if path.is_file() and not unused and not _LEFT_OUT & set(inner.parts):
                found.add(path)
    return found


def _loader():
    """What the kernel runs to start Python, by the name that Python asks for it."""
    with Path(sys.executable).resolve().open("rb") as stream:
        (segment,) = ELFFile(stream).iter_segments("PT_INTERP")
        return Path(segment.get_interp_name())


def _names(library):
    """The names by which a mapped library is asked for: links to it, beside it."""
    return [p for p in library.parent.glob("*.so*") if p.is_symlink() and p.resolve() == library.resolve()]


class _Archive:
    """Files one after the other, each after its folders."""

    def __init__(self, stream):
        self._stream, self._known, self._number = stream, {"/"}, 0

    def put(self, name, content, mode, changed=0):
        for parent in reversed(Path(name).parents):
            if str(parent) not in self._known:
                self._known.add(str(parent))
                self._entry(str(parent), b"", stat.S_IFDIR | 0o755)
        self._entry(name, content, mode, changed)

    def end(self):
        self._entry("/TRAILER!!!", b"", 0)

    def _entry(self, name, content, mode, changed=0):
        self._number += 1
        encoded = name.lstrip("/").encode() + b"\0"
        fields = [self._number, mode, 0, 0, 1, changed, len(content), 0, 0, 0, 0, len(encoded), 0]
        self._padded(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
        self._padded(content)

    def _padded(self, data):
        self._stream.write(data + b"\0" * (-len(data) % 4))
