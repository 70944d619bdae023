"""`butfor investigate` on a folder of OTLP files alone: a useful report that says what it could not know."""

import json
import time

import pytest

from butfor.cli.apps import run
from cli.otlp_lines import line, request, write


def investigated(folder, capsys):
    code = run(["investigate", str(folder), "--out", str(folder / "out")])
    verdict = json.loads((folder / "out" / "verdict.json").read_text())
    return code, verdict, (folder / "out" / "report.html").read_text(), capsys.readouterr().out


def test_it_says_what_failed_where_and_what_it_cannot_know(tmp_path, capsys):
    code, verdict, page, said = investigated(write(tmp_path), capsys)
    assert code == 3
    assert verdict["outcome"] == "Inconclusive"
    assert (verdict["predicate"]["route"], verdict["predicate"]["status"]) == ("/checkout", 500)
    assert verdict["raised_in"] == "payment"
    assert verdict["population"] == {"failing": 6, "healthy": 40, "requests": 92}
    assert verdict["divergence"]
    assert verdict["slice"]["predictions"]
    for place in (said, page):
        assert "raised in reserve of payment" in place
        assert "/app/payment/ledger.py:88" in place
        assert "the repository of payment" in place
        assert "--bad 4f2c1d9e0b" in place
        assert "no log record" in place
    assert "POST /charge" in page
    assert "no payloads" in page
    assert "there is no span" not in page


def test_what_was_not_reached_is_left_out_of_the_page(tmp_path, capsys):
    _, _, page, _ = investigated(write(tmp_path), capsys)
    for heading in ("Claims", "Bisection", "Suspects", "The commit", "Patch"):
        assert f"<h2>{heading}" not in page
    for heading in ("The failure", "What sets it apart", "From cause to failure", "Timeline", "Where the time went"):
        assert f"<h2>{heading}" in page


def test_an_attribute_that_goes_with_the_failure_is_named_but_not_its_value(tmp_path, capsys):
    _, _, page, _ = investigated(write(tmp_path), capsys)
    assert "app.currency" in page
    assert "6 of 6" in page
    assert "0 of 40" in page
    assert "EUR" not in page


def test_slow_requests_show_where_their_time_went_and_the_repeated_call_once(tmp_path, capsys):
    code, verdict, page, _ = investigated(write(tmp_path, failing=0, slow=6), capsys)
    assert code == 3
    assert verdict["predicate"]["slower_than_s"] > 0.03
    assert "once per item" in page
    assert page.count("SELECT items") == 1
    assert "&times; 12" in page


def test_a_truncated_line_is_a_counted_loss(tmp_path, capsys):
    file = write(tmp_path) / "traces.otlp.jsonl"
    file.write_bytes(file.read_bytes()[:-300] + b"\n{broken\n" + file.read_bytes()[:700])
    code, verdict, page, said = investigated(tmp_path, capsys)
    assert code == 3
    assert any("cut off" in loss for loss in verdict["losses"])
    assert "cut off" in said
    assert "cut off" in page


@pytest.mark.parametrize("healthy", [0, 12])
def test_nothing_to_compare_with_or_nothing_failed(tmp_path, capsys, healthy):
    code, verdict, page, said = investigated(write(tmp_path, healthy=healthy, failing=0 if healthy else 1), capsys)
    assert code == 3
    assert verdict["outcome"] == "Inconclusive"
    assert verdict["reason"]
    assert ("no healthy requests" in page) == (not healthy)
    assert ("No failure was recognised" in said) == bool(healthy)
    assert "what would decide" in said


def test_thousands_of_traces_take_seconds(tmp_path, capsys):
    write(tmp_path, healthy=4000, failing=200)
    started = time.monotonic()
    code, verdict, page, _ = investigated(tmp_path, capsys)
    assert code == 3
    assert verdict["population"]["failing"] == 200
    assert len(page) < 200_000
    assert time.monotonic() - started < 60


def test_spans_without_parents_and_backwards_in_time_are_shown_as_impossible(tmp_path, capsys):
    write(tmp_path)
    odd = next(one for _, one in request(900, failing=True))
    odd |= {"parentSpanId": "ab" * 8, "endTimeUnixNano": str(int(odd["startTimeUnixNano"]) - 5)}
    with (tmp_path / "traces.otlp.jsonl").open("a") as file:
        file.write(line("frontend", [odd]))
    _, _, page, _ = investigated(tmp_path, capsys)
    assert "Impossible orders" in page
    assert "negative duration" in page


def test_frames_of_a_framework_in_a_row_are_one_line():
    from butfor.evidence.predicates import Frame
    from butfor.reporting.situations import _places

    packages = ["uvicorn/a.py", "starlette/b.py", "starlette/c.py"]
    foreign = [Frame(file=f"/x/site-packages/{name}", line=1, function="f", in_repository=False) for name in packages]
    own = Frame(file="shop/app.py", line=7, function="pay")
    shown = list(_places([*foreign, own, foreign[0]]))
    assert [(one.text, one.frames) for one in shown] == [
        ("uvicorn, starlette", 3), ("shop/app.py:7", 1), ("/x/site-packages/uvicorn/a.py:1", 1)
    ]  # fmt: skip
