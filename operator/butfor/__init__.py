"""Butfor: but for this change, the failure would not have happened."""
