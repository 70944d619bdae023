"""Reproducing: the shortest sequence of captured requests that fails from a fresh start, judged and confirmed."""

from butfor.reproducing.assembling import Workshop
from butfor.reproducing.contrasts import Contrast, contrast
from butfor.reproducing.forms import with_form_at
from butfor.reproducing.recreating import Budget, Reproduced, reproduce, suspected
from butfor.reproducing.runners import LocalRunner

__all__ = [
    "Budget", "Contrast", "LocalRunner", "Reproduced", "Workshop", "contrast", "reproduce", "suspected", "with_form_at",
]  # fmt: skip
