"""Counterfactual claims, and the smallest set of changes that heals."""

from butfor.patching.applying import from_diff
from butfor.patching.candidates import PatchCandidate, candidate_of, minimise, write_patch
from butfor.patching.interventions import Intervention, claim_level, claims, decide_outcome, deciding, intervene
from butfor.patching.pieces import share
from butfor.patching.proving import Proof, counterfactual
from butfor.patching.trying import Healing
from butfor.patching.twins import twins

__all__ = [
    "Healing",
    "Intervention",
    "PatchCandidate",
    "Proof",
    "candidate_of",
    "claim_level",
    "claims",
    "counterfactual",
    "decide_outcome",
    "deciding",
    "from_diff",
    "intervene",
    "minimise",
    "share",
    "twins",
    "write_patch",
]
