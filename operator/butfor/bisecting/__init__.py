"""Searching the commit graph for the change but for which the failure would not have happened."""

from butfor.bisecting.searching import BisectionResult, bisect

__all__ = ["BisectionResult", "bisect"]
