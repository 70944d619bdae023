"""From telemetry to timelines per trace, typed findings, and what failed."""

from butfor.correlating.correlations import correlate

__all__ = ["correlate"]
