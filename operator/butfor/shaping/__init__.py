"""From timelines to a bounded, normalised shape that is the same bytes for the same input."""

from butfor.shaping.shapes import canonical_bytes, shape

__all__ = ["canonical_bytes", "shape"]
