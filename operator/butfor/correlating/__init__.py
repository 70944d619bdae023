"""From telemetry to timelines per trace, typed findings, and what failed."""
