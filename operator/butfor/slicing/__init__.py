"""From the causal graph to the smallest set of exogenous nodes predicted to heal the failure."""

from butfor.slicing.predictions import settle
from butfor.slicing.slices import slice_graph

__all__ = ["settle", "slice_graph"]
