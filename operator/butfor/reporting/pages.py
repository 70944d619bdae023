"""report.html: one file that needs no network, no script, and shows no captured value."""

from __future__ import annotations

import base64
import hashlib
import shlex
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from butfor.evidence.verdicts import Verdict
from butfor.reporting.contrasts import contrasts
from butfor.reporting.diffs import files_of
from butfor.reporting.materials import Material
from butfor.reporting.sentences import headline, joins, masked, meaning, ran, symptom, visible
from butfor.reporting.situations import situation
from butfor.reporting.slices import drawing
from butfor.reporting.waterfalls import waterfalls

MAX_SUSPECTS = 12


def page(verdict: Verdict, material: Material) -> str:
    """Return the page. Everything in it is escaped; the policy allows its one style sheet and nothing else."""
    template, css = _sources()
    return template.render(_context(verdict, material, css))


@cache
def _sources() -> tuple[Template, str]:
    here = resources.files("butfor.reporting")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_shown, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["masked"] = masked
    template = environment.from_string((here / "report.html.j2").read_text(encoding="utf-8"))
    return template, (here / "report.css").read_text(encoding="utf-8")


def _shown(value: Any) -> Any:
    return value if not isinstance(value, str) or isinstance(value, Markup) else visible(value)


def _context(verdict: Verdict, material: Material, css: str) -> dict[str, Any]:
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    top = verdict.suspects[: MAX_SUSPECTS if verdict.claim != "Proved" else 6]
    revision = verdict.bisection.first_bad or (material.ranking.bad or "REV")
    return {
        "v": verdict, "m": material, "css": Markup(css), "digest": digest, "headline": headline(verdict),  # noqa: S704  # our own file
        "s": situation(material.timelines, material.shape, material.graph), "contrasts": contrasts(material.timelines),
        "joins": joins(verdict.join),
        "ran": ran(verdict), "meaning": meaning(verdict), "symptom": symptom(verdict.predicate), "suspects": top,
        "waterfalls": waterfalls(material.timelines, material.cut), "paths": drawing(material.graph, verdict.slice),
        "culprit_files": files_of(material.culprit_diff, verdict.functions),
        "patch_files": files_of(material.patch.decode("utf-8", "replace"), []),
        "command": f"{shlex.quote((verdict.reproduction.path or 'repro') + '/run')} {shlex.quote(revision)} --repo .",
        "total": sum(verdict.timings.values()), "longest": max(verdict.timings.values(), default=1.0) or 1.0,
    }  # fmt: skip
