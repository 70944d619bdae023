"""Telemetry in: bundles, OTLP files and receivers, read into Arrow tables."""

from butfor.ingesting.bundles import open_bundle
from butfor.ingesting.otlp import read

__all__ = ["open_bundle", "read"]
