"""From shape and timelines to the causal graph, every edge citing evidence, and the first divergence."""

from butfor.graphing.graphs import graph
from butfor.graphing.settings import Environments

__all__ = ["Environments", "graph"]
