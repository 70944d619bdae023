"""A failure that runs have shown: the predicate of the requests that are given, and who counts as healthy."""

from pathlib import Path

import pyarrow as pa

from butfor.correlating.focusing import focus
from butfor.evidence.bundles import Bundle
from butfor.evidence.predicates import AnswerProperty
from butfor.evidence.telemetry import LOGS, SPANS, Telemetry
from butfor.evidence.timelines import ExceptionSeen, RequestSeen, Timelines


def seen(n: int, route: str, status: int, *, failed: bool = False, raised: str = "") -> RequestSeen:
    exceptions = [
        ExceptionSeen(span=f"t/{n}", types=[raised], message="", template="", frames=[], source="log")
    ] if raised else []  # fmt: skip
    return RequestSeen(
        span=f"t/{n}", service="web", method="GET", route=route, target=route, status=status, ended=None,
        duration_s=0.01, start_ns=n, failed=failed, exceptions=exceptions,
    )  # fmt: skip


def timelines(*requests: RequestSeen) -> Timelines:
    telemetry = Telemetry(Bundle(path=Path(), manifest=None), SPANS.empty_table(), LOGS.empty_table())
    segments = pa.table({"service": pa.array([], pa.string())})
    return Timelines(telemetry, SPANS.empty_table(), segments, requests=list(requests))


def test_the_expected_error_beside_it_is_healthy():
    found = focus(timelines(seen(0, "/none", 404, failed=True), seen(1, "/list", 404, failed=True)), [1], None, [])
    assert found.predicate is not None
    assert (found.predicate.route, found.predicate.status, found.predicate.answer) == ("/list", 404, None)
    assert (found.failing, found.healthy) == ([1], [0])
    assert [one.failed for one in found.requests] == [False, True]


def test_a_wrong_answer_is_told_by_its_property_alone():
    lost = AnswerProperty(kind="tokens_lost", value='["agent"]')
    found = focus(timelines(seen(0, "/", 200), seen(1, "/support", 200, raised="KeyError")), [1], lost, ["good says"])
    assert found.predicate is not None
    assert (found.predicate.status, found.predicate.answer, found.predicate.exception_types) == (200, lost, [])
    assert found.reasons[0] == "good says"


def test_an_exception_that_every_member_shows_is_part_of_it():
    found = focus(
        timelines(seen(0, "/a", 500, raised="KeyError"), seen(1, "/b", 500, raised="KeyError")), [0, 1], None, []
    )
    assert found.predicate is not None
    assert found.predicate.exception_types == ["KeyError"]


def test_a_server_error_that_is_another_failure_is_not_healthy():
    found = focus(timelines(seen(0, "/a", 500, failed=True), seen(1, "/b", 404)), [1], None, [])
    assert found.healthy == []
