"""The errors a person sees; all descend from ButforError.

- UserError: what was given cannot be used: exit code 2, one line, says what to do next
- InconclusiveError: the question cannot be answered: exit code 3, with the reason
- InfrastructureError: our own failure or the machine's: exit code 1; never a verdict about the code
"""

from __future__ import annotations


class ButforError(Exception):
    """The root; `str()` is one line."""


class UserError(ButforError):
    """Input that cannot be used."""


class InconclusiveError(ButforError):
    """A stage cannot decide; the message is the reason that the verdict states."""


class InfrastructureError(ButforError):
    """The sandbox, the machine or our own code failed."""
