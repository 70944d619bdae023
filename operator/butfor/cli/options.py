"""Options that several commands share, from words to types; what is wrong is said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from butfor.errors import UserError

if TYPE_CHECKING:
    from butfor.evidence.incidents import Symptom

SOURCES = ("kernel", "traces", "graph", "history")
"""What --without can leave out: the ABLATIONS of the analyses, here so that --help need not import them."""


def parse_sources(without: list[str] | None) -> frozenset[str]:
    """The sources to leave out."""
    unknown = sorted(set(without or []) - set(SOURCES))
    if unknown:
        raise UserError(f"--without {unknown[0]} is unknown; there are: {', '.join(SOURCES)}")
    return frozenset(without or [])


def parse_symptom(pairs: list[str], trace: str | None = None, kernel: str | None = None) -> Symptom:
    """`key=value` pairs as a symptom, the trace that shows it, and what the kernel saw of it."""
    from butfor.evidence.incidents import Symptom

    facts: dict[str, object] = {} if kernel is None else {"kernel": kernel}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or key not in Symptom.model_fields:
            raise UserError(f"--symptom {pair!r}: give key=value with one of {', '.join(Symptom.model_fields)}")
        facts[key] = int(value) if key == "status" and value.isascii() and value.isdigit() else value
    if trace is not None:
        facts["trace"] = trace.lower()
    try:
        return Symptom.model_validate(facts)
    except ValueError as error:
        option = "--trace: 32 hex digits are wanted" if trace is not None else "--symptom"
        raise UserError(f"{option}: {' '.join(str(error).splitlines()[:3])[:200]}") from error


def default_out(bundle: Path) -> Path:
    """`out/NAME`: the bundle's name, or its folder's where it is only called a bundle."""
    name = bundle.name.split(".")[0]
    return Path("out") / (bundle.resolve().parent.name if name in {"", "bundle"} else name)
