"""Incidents whose bundles an earlier run left are not captured again."""

from pathlib import Path

from butfor.demo.incidents import materialize
from butfor.evaluating.evaluations import Settings, evaluate
from butfor.investigating.progress import Silent


def kept(tmp_path: Path, lines: str | None) -> dict[str, object]:
    """What comes of an incident with a bundle of these spans; there is none where they are None."""
    (case,) = materialize(tmp_path / "cases", ["shop-krona"])
    bundles = tmp_path / "earlier"
    if lines is not None:
        bundle = bundles / case.name / "bundle"
        bundle.mkdir(parents=True)
        (bundle / "spans.otlp.jsonl").write_text(lines)
    return evaluate(case, Settings(out=tmp_path / "out", bundles=bundles, analyse_only=True), Silent())


def test_a_bundle_that_is_not_there_is_said_and_not_made(tmp_path: Path) -> None:
    row = kept(tmp_path, None)
    assert str(tmp_path / "earlier") in str(row["error"])
    assert not (tmp_path / "earlier").exists()


def test_a_kept_bundle_is_what_is_investigated(tmp_path: Path) -> None:
    row = kept(tmp_path, "")
    assert (row["outcome"], row["error"]) == ("Inconclusive", None)
    assert not (tmp_path / "out" / "shop-krona" / "bundle").exists()
