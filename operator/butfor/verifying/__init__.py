"""Checks that a patch must pass before it may be called verified."""

from butfor.verifying.verifications import Limits, NewTest, verify

__all__ = ["Limits", "NewTest", "verify"]
