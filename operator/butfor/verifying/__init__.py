"""Checks that a patch must pass before it may be called verified."""

from butfor.verifying.suites import plain_test
from butfor.verifying.verifications import Limits, NewTest, Verifier, verify

__all__ = ["Limits", "NewTest", "Verifier", "plain_test", "verify"]
