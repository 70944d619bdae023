"""From places in code and the history of good..bad to ranked commits and functions; nothing is executed."""

from butfor.locating.patched import patched
from butfor.locating.rankings import locate

__all__ = ["locate", "patched"]
