"""The rows of the kernel's evidence; where this machine has no BPF, one row says so and nothing is promised."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from statistics import median
from typing import Any

from bench import floods, hits, joins, storms, watchings
from bench.rows import Row
from butfor.errors import InfrastructureError
from butfor.ports.kernels import Kernel

PEER, SLOWED, WATCHED, JOIN, GROWTH = 0.25, 2.0, 1.03, 1.5, 1.1
TITLES = {
    "empty": "an empty program", "filtered": "asks whether the process is watched", "context": "reads the span",
    "record": "writes a whole record", "stack": "takes the user stack",
}  # fmt: skip


def hit_rows() -> Iterator[Row]:
    """What a hit costs, from the kernel's statistics, which themselves are in the empty program's figure."""
    for part, figures in hits.measure().items():
        yield Row("kernel", f"a hit: {TITLES[part]}", median(figures), "ns", parts={"turns": figures})


def storm_rows() -> Iterator[Row]:
    """A storm of failing calls: what arrives beside the peer, what is lost, what it costs the storm."""
    found = storms.measure()
    parts = {name: [asdict(one) for one in turns] for name, turns in found.items()}
    rate = {name: median(one.rate for one in turns) for name, turns in found.items()}
    spent = {name: median(one.cpu_seconds / one.calls for one in turns) * 1e9 for name, turns in found.items()}
    delivered = {name: median(one.delivered_rate for one in turns) for name, turns in found.items()}
    detail = f"{rate['alone']:.0f} calls/s alone, {rate['agent']:.0f}/s watched"
    yield Row("kernel", "a storm, watched: slowed", rate["alone"] / rate["agent"], bound=SLOWED, detail=detail)
    detail = f"{spent['alone']:.0f} ns of CPU a call alone, {spent['agent']:.0f} ns watched"
    yield Row("kernel", "a storm, watched: CPU of a call", spent["agent"] / spent["alone"], detail=detail)
    lost = sum(max(one.calls - one.delivered, one.lost, 0) for one in found["agent"])
    yield Row("kernel", "a storm, watched: events lost", lost, "events", bound=0, parts=parts)
    peers = [name for name in found if name.startswith("bpftrace")]
    if peers:
        best = max(peers, key=lambda name: delivered[name])
        missing = sum(one.calls - one.delivered for one in found[best]) / sum(one.calls for one in found[best])
        detail = f"{best} {delivered[best]:.0f}/s ({missing:.0%} lost), agent {delivered['agent']:.0f}/s"
        value = delivered[best] / delivered["agent"]
        yield Row("kernel", "events delivered: bpftrace to the agent", value, bound=PEER, detail=detail)


def watching_rows() -> Iterator[Row]:
    """A service at a share of its saturation; the interval says what can be told of it here."""
    found = watchings.measure()
    parts = {"alone": [asdict(one) for one in found.alone], "watched": [asdict(one) for one in found.watched]}
    what = f"{watchings.SERVICE} at {watchings.SHARE:.0%} of saturation, watched"
    for name, cost in (("throughput", found.throughput), ("p99", found.p99)):
        detail = f"95 % interval {cost.low:.3f} to {cost.high:.3f} of {len(found.alone)} pairs; "
        detail += f"alone {median(one.p99 for one in found.alone) * 1e3:.2f} ms, {found.asked:.0f} requests/s asked"
        told = cost.high <= WATCHED or cost.low > WATCHED
        detail += "" if told else f"; whether it is within {WATCHED} cannot be told"
        yield Row("kernel", f"{what}: {name}", cost.value, bound=WATCHED if told else None, detail=detail, parts=parts)
        parts = {}


def join_rows() -> Iterator[Row]:
    """The join beside a plain ASOF join that gives each event its span's number: few, and all events with a record."""
    for every, title in ((joins.EVERY, f"one in {joins.EVERY} read by the kernel"), (1, "all read by the kernel")):
        found = joins.measure(every=every)
        ours, numbers, texts, counted = (
            median(one) for one in (found.ours, found.numbers, found.texts, found.counted)
        )  # fmt: skip
        detail = (
            f"{ours:.2f} s; ASOF join of chDB, warm, to numbers of spans {numbers:.2f} s, to trace and span ids "
            f"{texts:.2f} s, only counting {counted:.2f} s; {joins.EVENTS:,} events, {joins.SPANS_WANTED:,} spans"
        )
        yield Row(
            "kernel", f"join of events to spans, {title}", ours / numbers, bound=JOIN, detail=detail,
            parts=asdict(found),
        )  # fmt: skip


def flood_rows() -> Iterator[Row]:
    """The agent's memory; BENCH_FLOOD_S is how long (60 by default)."""
    found = floods.measure(float(os.environ.get("BENCH_FLOOD_S", "60")))
    sizes = ", ".join(f"{one:.0f}" for one in found.megabytes)
    detail = (
        f"{sizes} MB every {floods.STEP_S:.0f} s, last third to first; {found.events:,} events, {found.lost:,} lost"
    )
    parts: dict[str, Any] = asdict(found)
    yield Row("kernel", "the agent's memory over a flood", found.growth, bound=GROWTH, detail=detail, parts=parts)


def kernel_rows() -> Iterator[Row]:
    """All of them."""
    yield from join_rows()
    try:
        Kernel.start().stop()
    except InfrastructureError as error:
        yield Row("kernel", "not measured", 0, "", detail=str(error))
        return
    parts: tuple[Callable[[], Iterator[Row]], ...] = (hit_rows, storm_rows, watching_rows, flood_rows)
    for part in parts:
        yield from part()
