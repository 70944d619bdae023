"""Failures without a stack: what was logged or answered leads to the code that says so."""

from dataclasses import replace

import pyarrow as pa
import pytest

from butfor.evidence.graphs import CausalGraph, Slice
from butfor.evidence.telemetry import LOGS
from butfor.locating import locate
from butfor.ports.repositories import Repository

from .conftest import Builder, timelines

APP = """def parse(value):
    if not value:
        raise Refused("Invalid field value %r in the form" % value)
    return value


def other(value):
    return 1


def page(value):
    return Answer(404)
"""


def seen(*bodies: tuple[str, str], status: int = 400):
    made = timelines(target="/form")
    rows = [
        {"time_ns": n, "trace_id": trace, "span_id": "s", "severity": "WARN", "service": "web", "body": text,
         "attributes": [], "resource": []}
        for n, (trace, text) in enumerate(bodies)
    ]  # fmt: skip
    telemetry = replace(made.telemetry, logs=pa.Table.from_pylist(rows, schema=LOGS))
    requests = [made.requests[0].model_copy(update={"status": status}), *made.requests[1:]]
    return replace(made, telemetry=telemetry, requests=requests)


def ranked(builder: Builder, found):
    with Repository(builder.folder) as repository:
        return locate(CausalGraph(), Slice(), found, repository, builder.shas["good"], builder.git("rev-parse", "HEAD"))


def history(builder: Builder) -> None:
    start = APP.replace("    if not value:\n", "    if value is None:\n").replace(
        "Invalid field value %r in the form", "x"
    )
    builder.commit("good", app_py=start.replace("404", "200"), more_py="def far():\n    return 1\n")
    builder.commit("page", app_py=start)
    builder.commit("strict", app_py=APP)
    builder.commit("far", more_py="def far():\n    thing = 2\n    return thing\n")


def test_a_logged_message_leads_to_the_code_that_words_it(builder: Builder) -> None:
    history(builder)
    ranking = ranked(
        builder, seen(("t", "400 POST /form: Invalid field value '' in the form"), ("h0", "served a page"))
    )
    assert ranking.suspects[0].subject == "strict"
    assert any(e == "log:0" for e in ranking.suspects[0].evidence)
    assert ranking.functions[0].name == "app.parse"


def test_what_healthy_requests_log_too_tells_nothing(builder: Builder) -> None:
    history(builder)
    text = "400 POST /form: Invalid field value '' in the form"
    values = {t.name: t.value for t in ranked(builder, seen(("t", text), ("h0", text))).suspects[0].features}
    assert values["stack_hits"] == 0


@pytest.mark.parametrize("status", [404, 403])
def test_a_status_that_only_failing_requests_get_leads_to_what_answers_it(builder: Builder, status: int) -> None:
    history(builder)
    ranking = ranked(builder, seen(status=status))
    page = next(s for s in ranking.suspects if s.subject == "page")
    assert ({t.name: t.value for t in page.features}["stack_hits"] > 0) == (status == 404)
    assert (ranking.suspects[0].subject == "page") == (status == 404)
