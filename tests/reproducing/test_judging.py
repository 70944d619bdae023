"""Good, bad or cannot tell: what one run is judged as. An unrelated failure and our own are never bad."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butfor.reproducing.plain import answers, judging, tracebacks

PREDICATE = {
    "service": "s", "method": "GET", "route": "/", "status": 500, "ended": None, "exception_types": ["KeyError"],
    "message_template": "'rebate'", "answer": None, "slower_than_s": None,
    "frame": {"file": "desk/orders.py", "line": 7, "function": "total", "in_repository": True},
}  # fmt: skip
EXPECTED = {
    "f": {"id": "f", "status": 200, "headers": {"content-type": "text/plain"}, "required": ["total", "six"], "own": []},
    "h": {"id": "h", "status": 200, "headers": {}, "required": ["hello"], "own": []},
}
TRACE = "a" * 32
JSON_HEADERS = [("Content-Type", "application/json")]


def exception(
    name: str = "KeyError",
    message: str = "'rebate'",
    file: str = "desk/orders.py",
    function: str = "total",
    trace: str = TRACE,
):
    """A span with one exception event, as the injected recorder writes it."""
    frames = [["/usr/lib/python3/http/server.py", 1, "run"], [f"/srv/s/worktree/{file}", 7, function]]
    facts = {
        "exception.type": name, "exception.message": message, "butfor.exception.types": json.dumps([name]),
        "butfor.exception.frames": json.dumps(frames),
    }  # fmt: skip
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in facts.items()]
    span = {"traceId": trace, "spanId": "b" * 16, "events": [{"name": "exception", "attributes": attributes}]}
    return {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"spans": [span]}]}]}


def answer(folder: Path, name: str, role: str, status: int | None = 200, text: str = "", **more):
    body = folder / f"{name}-{abs(hash(text))}"
    body.write_text(text)
    return {
        "id": name, "role": role, "status": status, "ended": None, "complete": True, "seconds": 0.1, "trace_id": TRACE,
        "headers": [["Content-Type", "text/plain; charset=utf-8"]], "body": str(body), **more,
    }  # fmt: skip


def run(folder: Path, answers, spans=(), predicate=PREDICATE, log: str = "", **more):
    spool = folder / "spool"
    spool.mkdir(exist_ok=True)
    (spool / "spans-1-a.jsonl").write_text("".join(json.dumps(span) + "\n" for span in spans))
    (folder / "s.log").write_text(log)
    observation = {"started": True, "spool": str(spool), "answers": answers, "logs": {"s": str(folder / "s.log")}}
    case = judging.Case(predicate, EXPECTED, renames={"old/orders.py": "desk/orders.py"})
    return judging.decide({**observation, **more.pop("observation", {})}, case, **more)


def test_bad_needs_status_and_the_same_exception_at_the_same_place(tmp_path):
    failing = answer(tmp_path, "f", "failing", 500)
    assert run(tmp_path, [failing], [exception()])["judgement"] == "bad"
    assert run(tmp_path, [failing], [exception(file="old/orders.py")])["judgement"] == "bad"
    assert run(tmp_path, [failing], [exception(file="desk/sums.py")])["judgement"] == "bad", "the function moved"
    assert run(tmp_path, [failing], [exception(function="grand_total")])["judgement"] == "bad", "it was renamed"


def test_another_form_of_the_failure_is_bad_too(tmp_path):
    other = {**PREDICATE, "status": 200, "exception_types": [], "frame": None}
    other["answer"] = {"kind": "tokens_lost", "value": '["six"]'}
    lost = answer(tmp_path, "f", "failing", 200, "total seven")
    assert run(tmp_path, [lost])["judgement"] == "unknown"
    assert run(tmp_path, [lost], predicate={**PREDICATE, "also": [other]})["judgement"] == "bad"
    gone = answer(tmp_path, "f", "failing", 404)
    assert run(tmp_path, [gone], predicate={**PREDICATE, "also": [other]})["judgement"] == "unknown"


@pytest.mark.parametrize(
    ("kind", "value", "text", "judgement"),
    [
        ("tokens_lost", '["six"]', "total seven", "bad"),
        ("tokens_lost", '["six", "total"]', "total seven", "unknown"),
        ("header_is", "content-type: text/plain", "total six", "bad"),
        ("header_is", "x-stamp: ", "total six", "bad"),
        ("header_is", "x-stamp: yes", "total six", "good"),
    ],
)
def test_an_answer_that_is_merely_wrong_is_told_by_its_property(tmp_path, kind, value, text, judgement):
    predicate = {**PREDICATE, "status": 200, "exception_types": [], "frame": None}
    predicate["answer"] = {"kind": kind, "value": value}
    assert run(tmp_path, [answer(tmp_path, "f", "failing", 200, text)], predicate=predicate)["judgement"] == judgement


@pytest.mark.parametrize(
    "other",
    [
        {"name": "TypeError"},
        {"message": "'items'"},
        {"file": "desk/views.py", "function": "show"},
        {"trace": "c" * 32},
    ],
)
def test_an_unrelated_failure_is_never_bad(tmp_path, other):
    assert run(tmp_path, [answer(tmp_path, "f", "failing", 500)], [exception(**other)])["judgement"] == "unknown"


def test_a_status_without_any_exception_seen_cannot_be_told(tmp_path):
    result = run(tmp_path, [answer(tmp_path, "f", "failing", 500)])
    assert result["judgement"] == "unknown"
    assert "no exception was seen" in result["answers"][0]["why"]


def test_without_injection_the_traceback_of_the_log_counts(tmp_path):
    log = (
        "serving\nTraceback (most recent call last):\n"
        '  File "/usr/lib/python3/http/server.py", line 1, in run\n    self.handle()\n'
        '  File "/srv/s/worktree/desk/orders.py", line 7, in total\n    return order["rebate"]\n        ~~~~~^^^\n'
        "KeyError: 'rebate'\n"
    )
    assert run(tmp_path, [answer(tmp_path, "f", "failing", 500)], log=log)["judgement"] == "bad"
    other = log.replace("KeyError: 'rebate'", "ValueError: rebate")
    assert run(tmp_path, [answer(tmp_path, "f", "failing", 500)], log=other)["judgement"] == "unknown"


def test_chained_tracebacks_count_by_their_root_cause():
    text = (
        'Traceback (most recent call last):\n  File "/srv/s/worktree/a.py", line 1, in first\n    x\nKeyError: 1\n\n'
        "During handling of the above exception, another exception occurred:\n\n"
        'Traceback (most recent call last):\n  File "/srv/s/worktree/b.py", line 2, in second\n    y\nRuntimeError\n'
    )
    (seen,) = tracebacks.from_log(text, [])
    assert seen["types"] == ["KeyError", "RuntimeError"]
    assert tracebacks.innermost(seen) == ["a.py", 1, "first", True]


def test_where_a_library_caught_the_root_its_callers_are_in_what_it_raised_instead():
    library = "/srv/s/environment/lib/python3.11/site-packages/wire.py"
    text = (
        f'Traceback (most recent call last):\n  File "{library}", line 1, in read\n    x\nWireTimeout\n\n'
        "The above exception was the direct cause of the following exception:\n\n"
        'Traceback (most recent call last):\n  File "/srv/s/worktree/b.py", line 2, in second\n    y\n'
        f'  File "{library}", line 9, in get\n    z\nwire.ReadTimeout\n'
    )
    (logged,) = tracebacks.from_log(text, [])
    facts = {
        "exception.type": "wire.ReadTimeout", "exception.stacktrace": text,
        "butfor.exception.frames": json.dumps([[library, 1, "Pool.read"]]),
    }  # fmt: skip
    injected = tracebacks._seen(facts, "s", [])
    for seen in (logged, injected):
        assert seen["types"] == ["WireTimeout", "wire.ReadTimeout"]
        assert tracebacks.innermost(seen) == ["b.py", 2, "second", True]


def test_frames_of_the_recording_code_are_not_the_repositorys_wherever_it_lies():
    own = "/srv/shop/worktree/.butfor-reproduction/support/inject/butfor_inject/httpx_clients.py"
    assert tracebacks.relative(own, ["/srv/shop/worktree"])[1] is False
    assert tracebacks.relative("/srv/shop/worktree/inject/app.py", ["/srv/shop/worktree"]) == ("inject/app.py", True)


def test_good_needs_good_answers_of_failing_and_healthy_requests(tmp_path):
    failing, healthy = (
        answer(tmp_path, "f", "failing", text="total six"),
        answer(tmp_path, "h", "healthy", text="hello"),
    )
    assert run(tmp_path, [failing, healthy])["judgement"] == "good"
    off = answer(tmp_path, "h", "healthy", text="goodbye")
    assert run(tmp_path, [failing, off])["judgement"] == "unknown"
    empty = answer(tmp_path, "f", "failing", text="")
    assert run(tmp_path, [empty, healthy])["judgement"] == "unknown", "a page that lost its content"
    skipped = answer(tmp_path, "f", "failing", None, skipped="no value for TOKEN")
    assert run(tmp_path, [skipped, healthy])["judgement"] == "unknown"


ENDS = [
    ("timeout", {"status": None, "ended": "timeout", "complete": False}),
    ("closed", {"status": None, "ended": "closed", "complete": False}),
    ("truncated", {"status": 200, "ended": None, "complete": False}),
]


@pytest.mark.parametrize(("wanted", "facts"), ENDS)
@pytest.mark.parametrize(("got", "seen"), [*ENDS, ("refused", {"status": None, "ended": "refused", "complete": False})])
def test_each_end_is_only_itself(tmp_path, wanted, facts, got, seen):
    predicate = {**PREDICATE, "status": None, "ended": wanted, "exception_types": [], "frame": None}
    one = answer(tmp_path, "f", "failing")
    result = run(tmp_path, [{**one, **seen}], predicate=predicate)
    assert result["judgement"] == ("bad" if got == wanted else "unknown")
    assert facts["complete"] is False


def test_slowness_is_judged_by_the_median_where_it_is_measured_often(tmp_path):
    predicate = {**PREDICATE, "status": None, "exception_types": [], "frame": None, "slower_than_s": 1.0}
    fast = answer(tmp_path, "f", "failing", text="total six", seconds=0.2)
    slow = {**fast, "seconds": 3.0}
    assert run(tmp_path, [slow], predicate=predicate)["judgement"] == "bad"
    assert run(tmp_path, [fast], predicate=predicate)["judgement"] == "good"
    often = {**predicate, "repeat": True}
    assert run(tmp_path, [fast, slow, fast], predicate=often)["judgement"] == "good"
    assert run(tmp_path, [slow, fast, slow], predicate=often)["judgement"] == "bad"
    wrong = {**slow, "body": None}
    assert run(tmp_path, [wrong, wrong], predicate=often)["judgement"] == "unknown", "slow, and another answer"


@given(
    started=st.booleans(), infrastructure=st.booleans(), ran=st.sampled_from([True, False, None]),
    status=st.sampled_from([None, 200, 404, 500, 502]), ended=st.sampled_from([None, "timeout", "closed", "refused"]),
    name=st.sampled_from(["KeyError", "TypeError", "OSError"]), message=st.sampled_from(["'rebate'", "other"]),
    function=st.sampled_from(["total", "route"]), file=st.sampled_from(["desk/orders.py", "desk/views.py"]),
    text=st.sampled_from(["", "total six", "nonsense"]), healthy=st.sampled_from(["hello", "bye"]),
)  # fmt: skip
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_judge_matrix(
    tmp_path, started, infrastructure, ran, status, ended, name, message, function, file, text, healthy
):
    """Bad is the whole predicate in a run that counts; good is everything as good; the rest cannot be told."""
    status = None if ended else status
    one = answer(tmp_path, "f", "failing", status, text, ended=ended, complete=ended is None)
    two = answer(tmp_path, "h", "healthy", text=healthy)
    about = {"started": started, "infrastructure": infrastructure, "reason": "why"}
    result = run(
        tmp_path, [one, two], [exception(name, message, file, function)], observation=about, ran_worktree=ran
    )  # fmt: skip
    counts = started and not infrastructure and ran is not False
    same = name == "KeyError" and message == "'rebate'" and (function == "total" or file == "desk/orders.py")
    bad = counts and status == 500 and ended is None and same
    good = counts and status == 200 and text == "total six" and healthy == "hello"
    assert result["judgement"] == ("bad" if bad else "good" if good else "unknown")
    assert result["reason"]


@given(st.binary(max_size=400))
def test_hostile_spools_and_logs_never_raise(raw):
    tracebacks.from_log(raw.decode("latin-1"), ["/srv"])


def test_hostile_spool_lines_are_left_out(tmp_path):
    lines = [
        '{"resourceSpans": 3}',
        "[1]",
        '{"resourceSpans": [{"scopeSpans": [{"spans": [{"events": [1, null]}]}]}]}',
        "{",
        "\0",
    ]
    (tmp_path / "spans-1-x.jsonl").write_text("\n".join(lines))
    (tmp_path / "logs-1-x.jsonl").symlink_to("/etc/passwd")
    assert tracebacks.from_spool(tmp_path, []) == {}


TUPLE = {"kind": "connect", "errno": "ECONNREFUSED", "target_type": "inet"}
BENEATH = {**PREDICATE, "status": None, "exception_types": [], "message_template": None, "frame": None,
           "kernel": [TUPLE], "by_kernel": True}  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "text", "judgement"),
    [([TUPLE], "total six", "bad"), ([TUPLE], "other words", "bad"), ([], "total six", "good"),
     ([{**TUPLE, "errno": "EPERM"}], "total six", "good"), ([], "other words", "unknown"),
     (None, "total six", "unknown")],
)  # fmt: skip
def test_a_failure_that_the_kernel_tells_needs_no_answer_and_is_not_judged_unwatched(tmp_path, seen, text, judgement):
    failing = answer(tmp_path, "f", "failing", text=text, kernel=seen)
    healthy = answer(tmp_path, "h", "healthy", text="hello", kernel=[TUPLE])
    assert run(tmp_path, [failing, healthy], predicate=BENEATH)["judgement"] == judgement


def test_what_tells_it_is_never_missing_unsaid(tmp_path):
    judged = run(tmp_path, [answer(tmp_path, "f", "failing", text="total six")], predicate=BENEATH)
    assert judged["judgement"] == "unknown"
    assert "the kernel was not watched" in judged["reason"]


GOOD_JSON = {"price": {"cents": 300, "band": "a"}, "lines": [{"id": 1}]}


def judged_json(folder: Path, value, *, status=200, predicate=PREDICATE, others=()):
    tokens = answers.tokens(json.dumps(GOOD_JSON).encode(), JSON_HEADERS)
    expected = {"f": {"id": "f", "status": 200, "headers": {}, "required": sorted(tokens), "own": []}}
    body = folder / "json"
    body.write_text(json.dumps(value))
    failing = answer(folder, "f", "failing", status) | {"body": str(body), "headers": JSON_HEADERS}
    observation = {"started": True, "spool": str(folder), "answers": [failing, *others], "logs": {}}
    return judging.decide(observation, judging.Case(predicate, {**EXPECTED, **expected}))


def test_of_an_error_an_answer_like_goods_with_other_values_is_none(tmp_path):
    result = judged_json(tmp_path, {"price": {"cents": 450, "band": "b"}, "lines": [{"id": 2}], "express": True})
    assert result["judgement"] == "good"
    assert "1 of them sound ones" in result["reason"]
    assert result["answers"][0]["alike"]
    assert not result["answers"][0]["as_good"]


@pytest.mark.parametrize("value", [
    {"price": {"cents": 450}, "lines": [{"id": 2}]}, {"price": {"cents": "450", "band": "b"}, "lines": [{"id": 2}]},
    {"price": None, "lines": [{"id": 2}]}, {"price": {"cents": 450, "band": "b"}, "lines": []}, {}, [], "x", None,
])  # fmt: skip
def test_an_answer_that_lost_a_field_or_its_type_cannot_be_told(tmp_path, value):
    assert judged_json(tmp_path, value)["judgement"] == "unknown"


def test_a_page_that_says_most_of_what_good_says_is_sound(tmp_path):
    words = [f"word{n}" for n in range(10)]
    expected = {"f": {"id": "f", "status": 200, "headers": {}, "required": words, "own": words[:8]}}

    def judge(text, status=200):
        observation = {
            "started": True,
            "spool": str(tmp_path),
            "answers": [answer(tmp_path, "f", "failing", status, text)],
        }
        return judging.decide(observation, judging.Case(PREDICATE, expected))["judgement"]

    assert judge(" ".join([*words[3:], "new", "menu"])) == "good"
    assert judge(" ".join(words[4:])) == "unknown", "half of its own is gone"
    assert judge(" ".join(words[:4])) == "unknown", "most of it is gone"
    assert judge(" ".join(words[3:]), 202) == "unknown"


@pytest.mark.parametrize(
    ("status", "judgement"), [(200, "good"), (201, "good"), (404, "good"), (400, "unknown"), (503, "unknown")]
)
def test_what_good_does_not_have_yet_may_be_answered_with_success(tmp_path, status, judgement):
    expected = {"f": {"id": "f", "status": 404, "headers": {}, "required": ["not", "found"], "own": []}}
    text = "not found" if status == 404 else "here it is"
    observation = {"started": True, "spool": str(tmp_path), "answers": [answer(tmp_path, "f", "failing", status, text)]}
    assert judging.decide(observation, judging.Case(PREDICATE, expected))["judgement"] == judgement


def test_other_values_are_not_forgiven_where_the_failure_is_a_value_or_a_wait(tmp_path):
    value = {"price": {"cents": 450, "band": "b"}, "lines": [{"id": 2}]}
    assert judged_json(tmp_path, value, status=202)["judgement"] == "unknown"
    wrong = {**PREDICATE, "status": 200, "exception_types": [], "frame": None}
    assert judged_json(tmp_path, value, predicate=wrong)["judgement"] == "bad", "that is the failure itself"
    lost = {**wrong, "answer": {"kind": "tokens_lost", "value": '["$.none=1"]'}}
    assert judged_json(tmp_path, value, predicate={**lost, "status": 201})["judgement"] == "unknown"
    slow = {**wrong, "slower_than_s": 5.0}
    assert judged_json(tmp_path, value, predicate=slow)["judgement"] == "unknown"


def test_a_healthy_request_with_other_values_is_not_good(tmp_path):
    other = answer(tmp_path, "h", "healthy", 200, "good day")
    assert judged_json(tmp_path, GOOD_JSON, others=[other])["judgement"] == "unknown"


@pytest.mark.parametrize(("waited", "judgement"), [(0, "good"), (1, "good"), (2, "bad"), (4, "bad")])
def test_waits_that_are_measured_often_are_judged_by_what_most_of_them_do(tmp_path, waited, judgement):
    lock = {"kind": "off_cpu", "errno": "", "target_type": "lock"}
    predicate = {**BENEATH, "kernel": [lock], "repeat": True}
    sent = [answer(tmp_path, "f", "failing", text="total six", kernel=[lock] if i < waited else []) for i in range(4)]
    assert run(tmp_path, sent, predicate=predicate)["judgement"] == judgement
    sent[3]["kernel"] = None
    assert run(tmp_path, sent, predicate=predicate)["judgement"] == ("bad" if waited >= 2 else "unknown")
