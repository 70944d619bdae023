"""The benches by name, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.kernel_rows import kernel_rows
from bench.rows import Row, analysis_rows, bisection_rows, capture_rows, harness_rows

BENCHES: dict[str, Callable[[], Iterator[Row]]] = {
    "bisection": bisection_rows, "harness": harness_rows, "capture": capture_rows, "analysis": analysis_rows,
    "kernel": kernel_rows,
}  # fmt: skip
