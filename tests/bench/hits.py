"""What a hit of a probe's parts costs, in ns: the kernel's own statistics over programs run on this thread.

The programs are run by BPF_PROG_TEST_RUN, so nothing but this thread is in the figures; it publishes a span as a
service does, so the context is really read.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from butfor_agent import building, slots
from butfor_agent.libbpf import library
from butfor_agent.loading import Probe, load

from butfor.ports import writers
from butfor.ports.caches import cache_root

PARTS = ("empty", "filtered", "context", "record", "stack")
_STATISTICS_AT = 192
"""Offset of run_time_ns and run_cnt in struct bpf_prog_info (include/uapi/linux/bpf.h)."""
_CONTEXT = (ctypes.c_uint64 * 12)()


class _Options(ctypes.Structure):
    """struct bpf_test_run_opts (libbpf, bpf/bpf.h)."""

    _fields_ = (
        ("size", ctypes.c_size_t), ("data_in", ctypes.c_void_p), ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32), ("data_size_out", ctypes.c_uint32), ("context_in", ctypes.c_void_p),
        ("context_out", ctypes.c_void_p), ("context_size_in", ctypes.c_uint32), ("context_size_out", ctypes.c_uint32),
        ("returned", ctypes.c_uint32), ("repeat", ctypes.c_int), ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32), ("cpu", ctypes.c_uint32), ("batch_size", ctypes.c_uint32),
    )  # fmt: skip


def measure(turns: int = 5, hits: int = 20_000) -> dict[str, list[float]]:
    """Nanoseconds per hit of each part, one figure per turn; RuntimeError where a part did not do its work."""
    _publish()
    with tempfile.TemporaryDirectory(prefix="butfor-bench-") as scratch:
        # nobody reads the ring: it is large enough for every hit
        probe = load(_built(Path(scratch)), {}, {}, {"events": 128 << 20})
        statistics = library().checked("statistics", library().bpf_enable_stats(0))
        try:
            me = struct.pack("=I", os.getpid())
            probe.maps["targets"].update(me, struct.pack("=I", 1))
            probe.maps["slots"].update(me, slots.resolve(os.getpid()).packed())
            found: dict[str, list[float]] = {part: [] for part in PARTS}
            for _ in range(turns):
                for part in PARTS:
                    found[part].append(_hit(probe, part, hits))
            return found
        finally:
            os.close(statistics)
            probe.close()


def _publish() -> None:
    sys.path.insert(0, str(writers.built(sys.executable)))
    import butfor_context

    butfor_context.install()
    butfor_context.publish({"service.name": "bench"})
    butfor_context.activate(os.urandom(24))


def _built(folder: Path) -> Path:
    headers = building.objects(cache_root())
    clang = next(
        found for name in ["clang", *(f"clang-{n}" for n in range(21, 13, -1))] if (found := shutil.which(name))
    )
    out = folder / "hits.bpf.o"
    machine = {"x86_64": "x86", "aarch64": "arm64"}[os.uname().machine]
    subprocess.run(
        [clang, "-g", "-O2", "-mcpu=v3", "-target", "bpf", f"-D__TARGET_ARCH_{machine}", f"-I{headers}",
         f"-I{building.sources()}", "-c", str(Path(__file__).with_name("hits.bpf.c")), "-o", str(out)],
        check=True,
    )  # fmt: skip
    return out


def _hit(probe: Probe, part: str, hits: int) -> float:
    run = ctypes.CDLL("libbpf.so.1", use_errno=True).bpf_prog_test_run_opts
    descriptor = library().bpf_program__fd(probe.programs[part])
    options = _Options(
        size=ctypes.sizeof(_Options), context_in=ctypes.addressof(_CONTEXT), context_size_in=ctypes.sizeof(_CONTEXT)
    )
    before, worked = _statistics(descriptor), 0
    for _ in range(hits):
        if run(descriptor, ctypes.byref(options)):
            raise RuntimeError(f"{part} cannot be run here: {os.strerror(ctypes.get_errno())}")
        worked += options.returned
    after = _statistics(descriptor)
    if part != "empty" and worked < hits:
        raise RuntimeError(f"{part} did its work {worked} times of {hits}")
    return (after[0] - before[0]) / (after[1] - before[1])


def _statistics(descriptor: int) -> tuple[int, int]:
    buffer, size = ctypes.create_string_buffer(256), ctypes.c_uint32(256)
    library().checked("statistics", library().bpf_obj_get_info_by_fd(descriptor, buffer, ctypes.byref(size)))
    nanoseconds, count = struct.unpack_from("<QQ", buffer.raw, _STATISTICS_AT)
    return nanoseconds, count


if __name__ == "__main__":
    for part, figures in measure().items():
        sys.stdout.write(f"{part} {[round(one) for one in figures]}\n")
