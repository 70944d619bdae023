"""report.html: says what the verdict says, is harmless whatever it is given, and shows no captured value."""

import json
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from butfor.evidence.graphs import CausalGraph, Divergence, Node, Shape, Slice
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.suspects import FunctionRef, Ranking, Suspect, Term
from butfor.evidence.telemetry import SPANS
from butfor.evidence.timelines import Timelines
from butfor.evidence.verdicts import Claim, Counterfactual, PatchSummary, ReproductionSummary, Verdict
from butfor.reporting import Material, report
from butfor.reporting.diffs import files_of
from butfor.reporting.pages import page
from butfor.reporting.schemas import main, schema, schema_bytes
from butfor.reporting.sentences import masked
from butfor.reporting.terminal import again, summary

DIFF = "diff --git a/shop.py b/shop.py\n--- a/shop.py\n+++ b/shop.py\n@@ -1,2 +1,2 @@ def pay():\n-    a\n+    b\n"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def material(graph=None, cut=None, diff=DIFF, patch=b""):
    timelines = Timelines(telemetry=None, spans=SPANS.empty_table(), segments=pa.table({}))
    return Material(timelines, Shape(), graph or CausalGraph(), cut or Slice(), Ranking(), diff, patch)


def verdict(text="Change pay", **more):
    suspect = Suspect(
        commit="ab" * 20, subject=text, score=3.0, features=[Term(name="hits", weight=3, value=1, detail=text)]
    )
    fields = {
        "outcome": "CodeChange",
        "claim": "Proved",
        "title": text,
        "suspects": [suspect],
        "functions": [FunctionRef(name="shop.pay", file="shop.py", line=1)],
        "predicate": FailurePredicate(service="shop", method="GET", route="/pay", status=500),
        "counterfactual": Counterfactual(necessary=Claim(method="plain", held=True, runs=2, details=[text])),
    }
    return Verdict(**(fields | more))


def tags(text):
    parser = Tags()
    parser.feed(text)
    return parser.seen


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=60))
def test_no_text_adds_an_element_or_an_attribute(text):
    plain = [(tag, sorted(attributes)) for tag, attributes in tags(page(verdict("x"), material()))]
    hostile = [(tag, sorted(attributes)) for tag, attributes in tags(page(verdict(text or "x"), material()))]
    assert plain == hostile


def test_a_script_in_a_subject_is_text_and_a_direction_override_is_visible():
    text = page(verdict("</style><script>alert(1)</script>\u202e"), material())
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\\u202e" in text


def test_nothing_is_loaded_from_elsewhere():
    for tag, attributes in tags(page(verdict(), material())):
        assert tag not in {"script", "link", "img", "iframe", "object"}
        assert not {"src", "href", "style", "onclick"} & set(attributes)


def test_the_policy_allows_the_style_sheet_that_is_there():
    import base64
    import hashlib

    text = page(verdict(), material())
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in text.replace("&#43;", "+")


def test_values_of_nodes_and_queries_are_not_shown():
    node = Node(
        id="input:a", kind="input", label="GET /pay?card=4111", value="hunter2", healthy_value="letmein", exogenous=True
    )
    found = Divergence(node="input:a", detail="GET /pay?card=4111&x=1 differs", healthy_traces=2, share_of_healthy=0)
    cut = Slice(nodes=["input:a"], paths=[["input:a", "failure"]])
    text = page(verdict(slice=cut), material(CausalGraph(nodes=[node], divergence=[found]), cut))
    assert "card=***" in text
    for secret in ("4111", "hunter2", "letmein"):
        assert secret not in text


def test_an_undecided_verdict_says_what_would_decide():
    text = page(verdict(outcome="Inconclusive", claim="None", next_step="name a repository"), material(diff=""))
    assert "Not decided" in text
    assert "name a repository" in text
    assert "But for" not in text


def test_named_functions_are_marked_and_their_file_comes_first():
    other = "diff --git a/docs.md b/docs.md\n@@ -1 +1 @@\n-a\n+b\n"
    files = files_of(other + DIFF, [FunctionRef(name="shop.pay", file="shop.py", line=1)])
    assert [one.name for one in files] == ["shop.py", "docs.md"]
    assert [one.open for one in files] == [True, False]
    assert files[0].lines[0][0] == "named"
    assert (files[0].added, files[0].removed) == (1, 1)


def test_a_huge_diff_is_cut_and_says_so():
    files = files_of("diff --git a/x b/x\n@@ -1 +1,9999 @@\n" + "+y\n" * 9999, [])
    assert len(files[0].lines) == 400
    assert files[0].left_out == 9600


@pytest.mark.parametrize(("raw", "shown"), [("/a?b=1&c=2 d", "/a?b=***&c=*** d"), ("a = 1", "a = 1")])
def test_masking(raw, shown):
    assert masked(raw) == shown


def test_the_folder_holds_what_the_verdict_names(tmp_path):
    done = verdict(
        reproduction=ReproductionSummary(path="repro", bad_runs=3, bad_failures=3, good_runs=3),
        patch=PatchSummary(path="patch.diff", verified=True),
    )
    report(done, material(patch=DIFF.encode()), tmp_path)
    names = {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()}
    assert names == {
        "verdict.json",
        "report.html",
        "README.txt",
        "patch.diff",
        "ci/github-actions.yml",
        "ci/gitlab-ci.yml",
    }
    jsonschema.Draft202012Validator(schema()).validate(json.loads((tmp_path / "verdict.json").read_text()))
    assert (tmp_path / "patch.diff").read_bytes() == DIFF.encode()


def test_the_schema_is_valid_published_and_refuses_unknown_outcomes(tmp_path):
    jsonschema.Draft202012Validator.check_schema(schema())
    assert main([str(tmp_path / "s.json")]) == 0
    assert (tmp_path / "s.json").read_bytes() == schema_bytes()
    assert main([]) == 2
    validator = jsonschema.Draft202012Validator(schema())
    assert not validator.is_valid(json.loads(verdict().model_dump_json()) | {"outcome": "Magic"})


def test_the_terminal_says_claims_and_next_command_without_colours_in_a_pipe(tmp_path, capsys):
    summary(verdict("a [bold]b", reproduction=ReproductionSummary(path="repro")), tmp_path)
    text = capsys.readouterr().out
    assert "necessary   yes" in text
    assert "[bold]b" in text
    assert "repro/run REV --repo DIR" in text
    assert "\x1b" not in text


def test_the_terminal_names_the_folders_that_are_known(tmp_path, capsys):
    found = verdict("x", reproduction=ReproductionSummary(path="repro"))
    line = again(tmp_path, found, "v2", Path("a b"))
    summary(found, tmp_path, again=line, repository=Path("a b"))
    text = capsys.readouterr().out
    assert f"next:   {tmp_path}/repro/run v2 --repo 'a b'\n" in text
    assert "REV" not in text
    assert "--repo DIR" not in text


def test_the_terminal_cannot_be_driven_by_a_subject(tmp_path):
    console = Console(record=True, force_terminal=True, width=60, soft_wrap=True)
    summary(verdict("x\x1b[2Jy"), tmp_path, console)
    assert "\x1b[2J" not in console.export_text(styles=True)
