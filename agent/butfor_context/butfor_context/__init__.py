"""Publishes the active span of each thread, so that a reader in the kernel joins what it sees to it exactly.

`install()` once per process; then `before = activate(ids)` where a span begins and `activate(before)` where it ends.
What follows the span by itself is in `coverage()`; where it could not be kept fresh the record is empty, never old.
"""

from __future__ import annotations

from butfor_context.following import coverage, install
from butfor_context.publishing import publish
from butfor_context.writer import activate, refresh, shown

__all__ = ["activate", "coverage", "install", "publish", "refresh", "shown"]
