"""Reproducing: the shortest sequence of captured requests that fails from a fresh start, judged and confirmed."""

from butfor.reproducing.assembling import Workshop
from butfor.reproducing.recreating import Budget, Reproduced, reproduce
from butfor.reproducing.runners import LocalRunner

__all__ = ["Budget", "LocalRunner", "Reproduced", "Workshop", "reproduce"]
