from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from handmade_timelines import Story, exception_event, frame, raised
from hypothesis import given, settings
from hypothesis import strategies as st

from butfor.evidence.bundles import Manifest
from butfor.evidence.graphs import CausalGraph, Edge, Node
from butfor.evidence.telemetry import EVIDENCE
from butfor.evidence.timelines import StackSample, Timelines
from butfor.graphing import Environments, graph
from butfor.graphing.builders import Evidence
from butfor.shaping import shape

REVISION = {"vcs.ref.head.revision": "b" * 40, "service.version": "1.2.3"}


def drawn(timelines: Timelines, **more) -> CausalGraph:
    return graph(timelines, shape(timelines), **more)


def node(made: CausalGraph, start: str) -> Node:
    return next(n for n in made.nodes if n.id.startswith(start))


def kinds(made: CausalGraph, kind: str) -> list[Node]:
    return [n for n in made.nodes if n.kind == kind]


def edges(made: CausalGraph, source: str, target: str) -> list[Edge]:
    return [e for e in made.edges if e.source.startswith(source) and e.target.startswith(target)]


def broken_page(tmp_path: Path, healthy: int = 6) -> Story:
    """A page that raises for one target; its siblings are fine; it asks a database first."""
    story = Story(bundle=tmp_path)
    frames = [frame("lib/server.py", 3, "serve", own=False), frame("shop/views.py", 40, "page"),
              frame("shop/tables.py", 7, "Table.label")]  # fmt: skip
    for number in range(healthy + 1):
        failed = number == 0
        base = number * 1000
        events = [exception_event("KeyError", "'name'", base + 25)] if failed else []
        root = story.span(number + 1, 1, 0, "GET", kind="SERVER", start=base, ms=50, resource=REVISION, events=events,
                          status="ERROR" if failed else "UNSET", http__request__method="GET",
                          http__route="/t/{table}")  # fmt: skip
        story.span(number + 1, 2, 1, "select", kind="CLIENT", start=base + 5, ms=10, db__system="sqlite",
                   db__statement=f"select * from t where id = {number}")  # fmt: skip
        if not failed:
            story.span(number + 1, 3, 1, "render", start=base + 20, ms=5)
        target = "/t/odd?view=wide" if failed else f"/t/{'abcdefgh'[number]}"
        payload = story.payload(root, target=target)
        story.request(root, failed=failed, route="/t/{table}", target=target, ms=50, start=base, payload=payload,
                      exceptions=[raised(root, "KeyError", message="'name'", frames=frames)] if failed else [])  # fmt: skip
    return story


def paying(outcome: str, healthy: int = 10, *, server: bool = False, server_ms: float = 80.0) -> Story:
    """A checkout that asks a payment service; in the failing request that ends with `outcome`."""
    story = Story()
    frames = [frame("shop/checkout.py", 12, "buy"), frame("shop/clients.py", 30, "charge")]
    names = {"timeout": "httpx.ReadTimeout", "refused": "ConnectionRefusedError", "503": "httpx.HTTPStatusError"}
    for number in range(healthy + 1):
        failed = number == 0
        base = number * 1000
        root = story.span(number + 1, 1, 0, "POST", kind="SERVER", start=base, ms=60, resource=REVISION,
                          status="ERROR" if failed else "UNSET", http__request__method="POST",
                          http__route="/buy")  # fmt: skip
        event = [exception_event(names[outcome], "", base + 55)] if failed and outcome != "503" else []
        more = {"http__response__status_code": "503" if failed and outcome == "503" else "200"} if not event else {}
        call = story.span(number + 1, 2, 1, "POST", kind="CLIENT", start=base + 5, ms=50 if failed else 20,
                          status="ERROR" if failed else "UNSET", events=event, http__request__method="POST",
                          url__full="http://pay:8000/charge", server__address="pay", server__port="8000",
                          **more)  # fmt: skip
        if server:
            story.span(number + 1, 3, 2, "POST", kind="SERVER", service="payment", start=base + 6,
                       ms=server_ms if failed else 15, http__request__method="POST", http__route="/charge",
                       resource={"vcs.ref.head.revision": "c" * 40})  # fmt: skip
        story.request(root, failed=failed, method="POST", ms=60, start=base,
                      exceptions=[raised(call, names[outcome], frames=frames)] if failed else [])  # fmt: skip
    return story


def test_nothing_failed_is_an_empty_graph():
    story = Story()
    story.request(story.span(1, 1, kind="SERVER"))
    assert drawn(story.timelines()) == CausalGraph()


def test_an_exception_reaches_the_failure_through_its_request(tmp_path):
    made = drawn(broken_page(tmp_path).timelines())
    exception = node(made, "exception:")
    assert (exception.value, exception.facts["family"], exception.unusual) == ("'name'", "not_found.key", 1.0)
    assert exception.evidence[0].endswith("#0")
    assert edges(made, "exception:", "request:")
    assert edges(made, "request:", "failure")


def test_a_database_within_the_service_is_no_downstream(tmp_path):
    made = drawn(broken_page(tmp_path).timelines())
    assert node(made, "span:").facts["operation"].endswith("/DB/select * from t where id = <*>")
    assert not kinds(made, "downstream")


def test_frames_are_code_with_their_distance_to_the_raising_one(tmp_path):
    made = drawn(broken_page(tmp_path).timelines())
    distance = {n.frame.function: n.facts["distance"] for n in kinds(made, "code")}
    assert distance == {"Table.label": 0, "page": 1, "serve": 2}
    assert {e.source for e in edges(made, "code_change:", "code:")} == {"code_change:shop"}
    assert {e.target for e in edges(made, "code_change:", "code:")} == {
        "code:shop/tables.py:7:Table.label", "code:shop/views.py:40:page",
    }  # fmt: skip


def test_code_change_knows_its_revision_and_where_from(tmp_path):
    change = node(drawn(broken_page(tmp_path).timelines()), "code_change:")
    assert (change.value, change.exogenous, change.facts["revision_from"]) == ("b" * 40, True, "vcs.ref.head.revision")
    assert not change.facts["differs"]


def test_what_only_the_failing_request_has_is_an_input_that_triggers(tmp_path):
    made = drawn(broken_page(tmp_path).timelines())
    query = node(made, "input:query:view")
    assert (query.value, query.healthy_value, query.unusual) == ("text", "absent", 1.0)
    triggers = [n.id for n in kinds(made, "input") if n.facts.get("trigger")]
    assert triggers == ["input:query:view"]
    assert node(made, "input:path:1=").facts["redundant_with"] == "input:query:view"
    assert not node(made, "input:route").exogenous


def test_json_paths_of_the_body_are_compared(tmp_path):
    story = Story(bundle=tmp_path)
    for number in range(5):
        root = story.span(number + 1, 1, kind="SERVER", start=number * 100)
        body = {"items": [{"qty": 1, "note": None if number == 0 else "x"}], "id": number}
        payload = story.payload(root, method="POST", **story.body(body))
        story.request(root, failed=number == 0, method="POST", payload=payload, start=number * 100)
    made = drawn(story.timelines())
    part = node(made, "input:body:$.items[].note")
    assert (part.value, part.healthy_value, part.unusual) == ("null", "text", 1.0)
    assert f"payload:{0}" in part.evidence


def test_a_large_body_is_an_input_by_its_size():
    story = Story()
    for number, size in enumerate((9_800_000, 2000, 40, 2500)):
        root = story.span(number + 1, 1, kind="SERVER", start=number * 100)
        payload = story.payload(root, method="POST", request_bytes=size)
        story.request(root, failed=number == 0, method="POST", payload=payload, start=number * 100)
    size = node(drawn(story.timelines()), "input:body.size")
    assert (size.value, size.healthy_value, size.unusual, size.facts["trigger"]) == ("9800000", "2000", 1.0, True)


def test_against_other_routes_only_the_route_tells(tmp_path):
    story = Story(bundle=tmp_path)
    for number, route in enumerate(("/", "/a", "/b", "/c")):
        root = story.span(number + 1, 1, kind="SERVER", start=number * 100)
        story.request(root, failed=number == 0, route=route, start=number * 100)
    made = drawn(story.timelines())
    assert node(made, "failure").facts["scope"] == "service"
    assert node(made, "input:route").unusual == 1.0
    assert not [n for n in kinds(made, "input") if n.facts.get("trigger")]


@pytest.mark.parametrize("outcome", ["timeout", "refused", "503"])
def test_a_downstream_that_failed_is_unusual_by_its_outcome(outcome):
    made = drawn(paying(outcome).timelines())
    downstream = node(made, "downstream:")
    assert downstream.value.startswith(outcome)
    assert (downstream.healthy_value, downstream.unusual, downstream.exogenous) == ("200", 1.0, True)
    assert downstream.facts["differs"][0] == "outcome"
    assert edges(made, "downstream:", "span:")


def test_a_timeout_tells_who_gave_up():
    downstream = node(drawn(paying("timeout", server=True).timelines()), "downstream:payment")
    assert downstream.facts["itself_failed"] is False
    assert downstream.facts["waited_s"] == pytest.approx(0.05)
    assert downstream.facts["answered_in_s"] == pytest.approx(0.08)
    assert node(drawn(paying("refused").timelines()), "downstream:").facts["itself_failed"] is True
    assert node(drawn(paying("timeout").timelines()), "downstream:").facts["itself_failed"] is None


def test_a_service_behind_a_recording_proxy_may_go_on_after_its_caller_left():
    story = paying("timeout", server=True, server_ms=50)
    story.spans[2]["attributes"].append(("butfor.edge", "true"))
    story.span(1, 4, 3, "POST", kind="SERVER", service="payment", start=7, ms=300)
    assert node(drawn(story.timelines()), "downstream:payment").facts["answered_in_s"] == pytest.approx(0.3)


def test_a_slow_answer_within_what_others_get_is_said_so():
    story = paying("timeout", server=True)
    other = story.span(90, 1, 0, "POST", kind="SERVER", service="payment", ms=90, http__request__method="POST",
                       http__route="/charge")  # fmt: skip
    story.request(other, service="payment", route="/charge", ms=90)
    assert node(drawn(story.timelines()), "downstream:payment").facts["within_healthy"] is True


def test_an_answer_of_another_form_is_unusual(tmp_path):
    story = Story(bundle=tmp_path)
    for number in range(5):
        failed = number == 0
        root = story.span(number + 1, 1, kind="SERVER", start=number * 100)
        call = story.span(number + 1, 2, 1, "GET", kind="CLIENT", start=number * 100 + 1, ms=2,
                          http__request__method="GET", url__full="http://stock/items/7")  # fmt: skip
        story.payload(call, role="client", target="/items/7", **story.answer({"price": None if failed else 3}))
        story.request(root, failed=failed, start=number * 100)
    downstream = node(drawn(story.timelines()), "downstream:stock")
    assert downstream.facts["differs"] == ["answer"]
    assert downstream.facts["answer_differs"] == ["body:$.price"]
    assert downstream.unusual == 1.0


def test_sampled_frames_carry_their_share_of_samples():
    story = Story()
    root = story.span(1, 1, kind="SERVER", ms=3000)
    main, loop, copy = (frame("app.py", n, f) for n, f in ((1, "main"), (20, "parse"), (30, "copy")))
    story.request(root, failed=True, ended="timeout", ms=3000, samples=[
        StackSample(span=root, frames=[main, loop], count=30), StackSample(span=root, frames=[main, loop, copy], count=10),
    ])  # fmt: skip
    made = drawn(story.timelines())
    shares = {n.frame.function: (n.facts["share"], n.facts["self_share"]) for n in kinds(made, "code")}
    assert shares == {"main": (1.0, 0.0), "parse": (1.0, 0.75), "copy": (0.25, 0.25)}
    assert len(edges(made, "code:", "request:")) == 3


def test_a_full_disk_is_a_resource():
    story = Story()
    root = story.span(1, 1, kind="SERVER")
    story.request(root, failed=True, exceptions=[raised(root, "OSError", message="[Errno 28] No space left on device")])
    made = drawn(story.timelines())
    assert node(made, "resource:").label == "free space on the disk"
    assert edges(made, "resource:", "exception:")[0].kind == "resource_conflict"


def test_a_locked_database_names_who_ran_at_that_moment():
    story = Story()
    root = story.span(1, 1, kind="SERVER", start=10)
    story.request(root, failed=True, start=10,
                  exceptions=[raised(root, "sqlite3.OperationalError", message="database is locked")])  # fmt: skip
    story.request(story.span(2, 1, kind="SERVER", start=5, ms=100), route="/report", start=5, ms=100)
    story.request(story.span(3, 1, kind="SERVER", start=500), start=500)
    made = drawn(story.timelines())
    assert [n.label for n in kinds(made, "call")] == ["GET /report"]
    assert [e.kind for e in edges(made, "call:", "resource:")] == ["resource_conflict"]


def test_endless_recursion_is_no_resource():
    story = Story()
    root = story.span(1, 1, kind="SERVER")
    story.request(
        root, failed=True, exceptions=[raised(root, "RecursionError", message="maximum recursion depth exceeded")]
    )
    assert not kinds(drawn(story.timelines()), "resource")


def test_a_flag_that_only_the_failing_request_evaluated_so():
    story = Story()
    for number in range(4):
        event = {"time_ns": 1, "name": "feature_flag.evaluation", "attributes": [
            ("feature_flag.key", "fast"), ("feature_flag.result.variant", "on" if number == 0 else "off")]}  # fmt: skip
        story.request(story.span(number + 1, 1, kind="SERVER", events=[event], start=number), failed=number == 0)
    flag = node(drawn(story.timelines()), "flag:fast")
    assert (flag.value, flag.healthy_value, flag.unusual) == ("on", "off", 1.0)
    assert flag.evidence[0].endswith("#0")


def test_another_version_is_configuration_and_another_revision():
    story = Story()
    for number in range(4):
        version = {"service.version": "2" if number == 0 else "1", "telemetry.sdk.name": str(number)}
        story.request(story.span(number + 1, 1, kind="SERVER", resource=version, start=number), failed=number == 0)
    made = drawn(story.timelines())
    config = kinds(made, "config")
    assert [(c.label, c.value, c.healthy_value, c.unusual) for c in config] == [
        ("shop: service.version", "2", "1", 1.0)
    ]
    assert node(made, "code_change:shop").facts["differs"]


def test_one_failing_request_says_nothing_about_its_instance():
    story = Story()
    for number in range(6):
        instance = {"service.instance.id": str(number)}
        story.request(story.span(number + 1, 1, kind="SERVER", resource=instance, start=number), failed=number == 0)
    assert not kinds(drawn(story.timelines()), "config")


def test_a_description_with_two_environments_gives_configuration_without_its_values():
    story = Story()
    story.request(story.span(1, 1, kind="SERVER"), failed=True)
    pair = Environments(good={"LIMIT": "secret1", "SAME": "1"}, bad={"LIMIT": "secret2", "SAME": "1"})
    made = drawn(story.timelines(), environments={"shop": pair})
    assert [n.facts["variable"] for n in kinds(made, "config")] == ["LIMIT"]
    assert "secret" not in made.model_dump_json()


def test_a_value_of_an_earlier_answer_flows_into_the_failing_request(tmp_path):
    story = Story(bundle=tmp_path)
    first = story.span(1, 1, kind="SERVER", start=0)
    created = story.payload(first, method="POST", target="/orders", end_ns=10, **story.answer({"id": "ord-81723"}))
    story.request(first, method="POST", route="/orders", payload=created)
    second = story.span(2, 1, kind="SERVER", start=100)
    asked = story.payload(second, target="/orders/ord-81723", start_ns=20)
    story.request(second, failed=True, payload=asked, start=100)
    flow = edges(drawn(story.timelines()), "call:", "request:")[0]
    assert (flow.kind, flow.evidence) == ("data", [f"payload:{created}", f"payload:{asked}"])


def test_a_value_flows_between_calls_of_the_failing_request(tmp_path):
    story = Story(bundle=tmp_path)
    root = story.span(1, 1, kind="SERVER", ms=100)
    one, two = (story.span(1, n, 1, f"call {n}", kind="CLIENT", start=n * 10, ms=5) for n in (2, 3))
    story.payload(one, role="client", target="/token", end_ns=5, **story.answer({"token": "t0k-99887766"}))
    story.payload(two, role="client", target="/use", start_ns=6, request_headers=[("x-token", "t0k-99887766")])
    story.request(root, failed=True)
    assert edges(drawn(story.timelines()), f"span:{one}", f"span:{two}")[0].kind == "data"


def test_severe_logs_are_nodes_with_how_usual_they_are():
    story = Story()
    for number in range(3):
        root = story.span(number + 1, 1, kind="SERVER", start=number)
        story.request(root, failed=number == 0, start=number)
        story.log(root, f"retry {number} of 3")
    story.log(f"{1:032x}/{1:016x}", "No space left on device")
    made = drawn(story.timelines())
    assert {n.label: n.unusual for n in kinds(made, "log")} == {"retry <*> of <*>": 0.0, "No space left on device": 1.0}
    assert node(made, "resource:shop:exhausted.disk")


def test_first_divergence_is_where_it_could_first_be_known(tmp_path):
    made = drawn(broken_page(tmp_path).timelines())
    first = made.divergence[0]
    assert first.healthy_traces == 6
    assert "fails here" in first.detail
    missing = next(d for d in made.divergence if "does not call" in d.detail)
    assert "render" in missing.detail
    code = next(d for d in made.divergence if d.node.startswith("code:"))
    assert code.node == "code:shop/tables.py:7:Table.label"


def test_a_failing_child_diverges_before_its_parent():
    found = drawn(paying("timeout").timelines()).divergence
    assert [d.node.partition(":")[0] for d in found[:2]] == ["span", "span"]
    assert "charge" in found[0].detail
    assert found[0].share_of_healthy == 0.0


def test_a_span_that_healthy_requests_do_not_have_is_new_once():
    story = Story()
    for number in range(4):
        root = story.span(number + 1, 1, kind="SERVER", start=number * 100)
        if number == 0:
            story.span(1, 2, 1, "extra", start=2, ms=3)
            story.span(1, 3, 2, "inner", start=3, ms=1)
        story.request(root, failed=number == 0, start=number * 100)
    new = [d.detail for d in drawn(story.timelines()).divergence if "not called" in d.detail]
    assert len(new) == 1
    assert "extra" in new[0]


def test_what_capture_tells_of_a_request_is_no_call_of_it():
    story = Story()
    for number in range(4):
        root = story.span(number + 1, 1, kind="SERVER", start=number * 100)
        if number == 0:
            story.span(1, 2, 1, EVIDENCE, start=2, ms=3)
        story.request(root, failed=number == 0, start=number * 100)
    assert not any("not called" in d.detail for d in drawn(story.timelines()).divergence)


def test_without_healthy_requests_there_is_no_divergence():
    story = Story()
    story.request(story.span(1, 1, kind="SERVER"), failed=True)
    assert drawn(story.timelines()).divergence == []


def test_without_traces_only_exceptions_logs_and_code_are_left(tmp_path):
    story = broken_page(tmp_path)
    made = drawn(story.timelines(), without=frozenset({"traces"}))
    assert {n.kind for n in made.nodes} == {"failure", "exception", "code", "code_change"}
    assert edges(made, "exception:", "failure")
    assert edges(made, "code_change:", "code:")


def test_without_graph_there_are_nodes_but_no_edges_and_no_comparison(tmp_path):
    made = drawn(broken_page(tmp_path).timelines(), without=frozenset({"graph"}))
    assert kinds(made, "code")
    assert (made.edges, made.divergence, {n.unusual for n in made.nodes}) == ([], [], {0.0})


def test_a_request_known_by_its_payload_alone_still_reaches_the_failure():
    story = Story()
    missing = f"{7:032x}/{7:016x}"
    story.request(missing, failed=True, ended="closed", payload=story.payload(missing))
    made = drawn(story.timelines())
    assert edges(made, "request:", "failure")[0].evidence == ["payload:0"]
    assert edges(made, "code_change:shop", "request:")


def test_long_traces_keep_the_way_to_the_error():
    story = Story()
    root = story.span(1, 1, kind="SERVER", ms=10_000)
    for number in range(900):
        story.span(1, 10 + number, 1, "step", start=number * 2, ms=1)
    deep = 1
    for number in range(20):
        story.span(1, 5000 + number, deep, "deep", start=5000, ms=10, status="ERROR" if number == 19 else "UNSET")
        deep = 5000 + number
    story.request(root, failed=True)
    made = drawn(story.timelines())
    assert len(kinds(made, "span")) == 300
    assert all(any(n.id.endswith(f"{5000 + i:016x}") for n in made.nodes) for i in range(20))


def test_behind_a_proxy_targets_that_differ_are_one_place_and_the_revision_is_found():
    story = Story()
    for number, target in enumerate(("/files/odd.txt", "/files/a.txt", "/files/b.txt")):
        base = number * 1000
        edge = story.span(number + 1, 1, 0, "GET", kind="SERVER", start=base, ms=20, butfor__edge="true",
                          status="ERROR" if number == 0 else "UNSET", http__request__method="GET",
                          url__path=target)  # fmt: skip
        story.span(number + 1, 2, 1, "GET", kind="SERVER", start=base + 1, ms=15, resource=REVISION,
                   status="ERROR" if number == 0 else "UNSET", http__request__method="GET", url__path=target)  # fmt: skip
        story.request(edge, failed=number == 0, route="/files/{name}", target=target, start=base)
    made = drawn(story.timelines())
    assert not [d for d in made.divergence if "not called" in d.detail]
    assert node(made, "code_change:shop").value == "b" * 40


def test_a_span_without_an_end_is_known_when_all_else_has_ended():
    story = Story()
    for number in range(3):
        root = story.span(number + 1, 1, kind="SERVER", start=number * 100, ms=30)
        story.span(number + 1, 2, 1, "first", start=number * 100, ms=5, status="ERROR" if number == 0 else "UNSET")
        story.span(number + 1, 3, 1, "hangs", start=number * 100, ms=None if number == 0 else 4)
        story.request(root, failed=number == 0, start=number * 100, ms=30)
    found = [d.detail for d in drawn(story.timelines()).divergence]
    assert "first fails here" in found[0]
    assert any("hangs never ends here" in d for d in found[1:])


@pytest.mark.parametrize(("privacy", "shown"), [("local", "text of 8 characters"), ("redacted", "hunter22")])
def test_raw_values_of_a_local_capture_are_not_shown(privacy, shown):
    story = Story()
    for number in range(4):
        root = story.span(number + 1, 1, kind="SERVER", start=number)
        word = "hunter22" if number == 0 else "usual"
        story.request(root, failed=number == 0, target=f"/buy?code={word}", start=number)
    timelines = story.timelines()
    manifest = Manifest(start_ns=0, end_ns=1, privacy=privacy)
    bundle = timelines.telemetry.bundle.model_copy(update={"manifest": manifest})
    made = drawn(replace(timelines, telemetry=replace(timelines.telemetry, bundle=bundle)))
    assert node(made, "input:query:code=").value == shown
    assert ("hunter22" in made.model_dump_json()) is (privacy == "redacted")


def test_thousands_of_traces_are_drawn_in_a_few_seconds():
    story = Story()
    for number in range(1500):
        root = story.span(number + 1, 1, kind="SERVER", start=number, status="ERROR" if number % 3 == 0 else "OK")
        for child in range(2, 12):
            story.span(number + 1, child, 1, f"step {child}", kind="CLIENT", start=number, ms=1)
        story.request(root, failed=number % 3 == 0, start=number)
    timelines = story.timelines()
    shaped = shape(timelines)
    before = time.process_time()
    made = graph(timelines, shaped)
    assert time.process_time() - before < 5
    assert made.divergence[0].healthy_traces == 500


ROWS = st.lists(
    st.tuples(
        st.integers(1, 4), st.integers(1, 6), st.integers(0, 7), st.sampled_from(["a", "b 7", "GET /x/9"]),
        st.sampled_from(["SERVER", "CLIENT", "INTERNAL"]), st.integers(-5, 50),
        st.one_of(st.none(), st.integers(-5, 60)), st.sampled_from(["OK", "ERROR", "UNSET"]), st.booleans(),
    ),
    min_size=1, max_size=25,
)  # fmt: skip


def any_story(rows, failing: int) -> Story:
    story = Story()
    messages = ["database is locked", "[Errno 28] No space left", "x"]
    for trace_no, number, parent, name, kind, start, ms, status, raising in rows:
        event = [exception_event("OSError", messages[number % 3])] if raising else []
        story.span(trace_no, number, parent, name, kind=kind, start=start, ms=ms, status=status, events=event,
                   resource=REVISION)  # fmt: skip
    for index, at in enumerate(dict.fromkeys(f"{t:032x}/{n:016x}" for t, n, *_ in rows)):
        if index < 5:
            seen = [raised(at, "OSError", message=messages[index % 3], frames=[frame("a.py", index, "f")])]
            story.request(at, failed=index < failing, exceptions=seen if index % 2 == 0 else [])
    return story


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 3))
def test_every_node_and_edge_cites_evidence_that_exists(rows, failing):
    timelines = any_story(rows, failing).timelines()
    made = drawn(timelines)
    known = Evidence(timelines)
    ids = {n.id for n in made.nodes}
    assert all(e.evidence and {e.source, e.target} <= ids for e in made.edges)
    assert all(known.exists(c) for part in (*made.nodes, *made.edges, *made.divergence) for c in part.evidence)
    assert "failure" in ids


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 3), st.randoms(use_true_random=False))
def test_rows_in_any_order_give_the_same_graph(rows, failing, shuffler):
    timelines = any_story(rows, failing).timelines()
    order = list(range(timelines.spans.num_rows))
    shuffler.shuffle(order)
    requests = list(enumerate(timelines.requests))
    shuffler.shuffle(requests)
    new = {old: at for at, (old, _) in enumerate(requests)}
    mixed = replace(
        timelines,
        spans=timelines.spans.take(pa.array(order, pa.int64())),
        requests=[r for _, r in requests],
        failing=[new[i] for i in timelines.failing],
        healthy=[new[i] for i in timelines.healthy],
    )
    assert drawn(mixed) == drawn(timelines)


@pytest.mark.parametrize(
    ("cited", "exists"),
    [
        ("log:0", False),
        ("payload:x", False),
        (f"{1:032x}/{1:016x}", True),
        (f"{1:032x}/{1:016x}#0", False),
        ("", False),
    ],
)
def test_evidence_that_was_never_captured_does_not_exist(cited, exists):
    story = Story()
    story.span(1, 1)
    assert Evidence(story.timelines()).exists(cited) is exists
