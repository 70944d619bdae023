"""A play under the kernel's eyes: the services' events, told apart from what drives them, joined to their spans."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from butfor.evidence.plays import Plan
from butfor.ports.plays import play
from butfor.ports.sandboxes import detect

sys.path.insert(0, str(Path(__file__).parent))
import kernel_services as services

pytestmark = pytest.mark.slow


def rows(folder, name):
    return pa.ipc.open_stream((folder / f"{name}.arrow").read_bytes()).read_all().to_pylist()


def spans(observation):
    found = {}
    for path in observation.spool.glob("spans-*.jsonl"):
        for line in path.read_text().splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    for span in scope["spans"]:
                        target = {a["key"]: a["value"] for a in span["attributes"]}.get("url.path", {})
                        found[span["traceId"] + span["spanId"]] = target.get("stringValue", "")
    return found


def test_what_a_service_met_in_the_kernel_is_joined_to_the_span_it_met_it_in(kernel, tmp_path):
    plan = Plan(
        services=[services.service(tmp_path)], deadline_s=60,
        requests=[services.get(target) for target in ("/", "/refused", "/missing", "/refused")],
    )  # fmt: skip
    seen = play(plan, sandbox=detect(), folder=tmp_path / "play", kernel=kernel)
    assert seen.started, seen.reason
    assert [a.status for a in seen.answers] == [200] * 4
    assert seen.kernel_reason == ""
    assert {row["service"] for row in rows(seen.kernel, "processes")} == {"shop"}
    events, known = rows(seen.kernel, "kernel"), spans(seen)
    refused = [row for row in events if row["errno"] == "ECONNREFUSED"]
    assert [known[row["trace_id"] + row["span_id"]] for row in refused] == ["/refused"] * 2
    (missing,) = [row for row in events if row["path"].startswith("/nowhere")]
    assert known[missing["trace_id"] + missing["span_id"]] == "/missing"
    assert {row["join"] for row in [*refused, missing]} == {"thread"}
    assert not [row for row in events if row["kind"] == "signal"]
    assert {row["trace_id"] + row["span_id"] for row in events if row["join"] == "thread"} <= set(known)


def test_a_play_that_nobody_watches_says_nothing_of_the_kernel(tmp_path):
    plan = Plan(services=[services.service(tmp_path)], requests=[services.get("/")], deadline_s=60)
    seen = play(plan, sandbox=detect(), folder=tmp_path / "play")
    assert (seen.started, seen.kernel, seen.kernel_reason, seen.kernel_losses) == (True, None, "", [])
