"""The verdict as JSON, page, terminal text and a folder that can be proved again."""

from butfor.reporting.folders import Material, report

__all__ = ["Material", "report"]
