"""What holds for the parts, whatever they are given."""

from __future__ import annotations

import hashlib
import json
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from butfor_inject import boundaries, contexts, failures, importing, logs, raising, sampling, settings
from butfor_inject.bodies import Body
from butfor_inject.exchanges import Exchange
from butfor_inject.spools import Spool


@pytest.fixture
def spool(tmp_path):
    return Spool(settings.Settings(str(tmp_path), {"BUTFOR_PAYLOAD_LIMIT": "3000000"}))


quick = hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(st.lists(st.tuples(st.integers(0, 1_200_000), st.sampled_from([bytes, bytearray, memoryview])), max_size=5))
def test_a_body_is_its_pieces_up_to_the_limit(spool, pieces):
    body, whole = Body(spool), b""
    for index, (size, kind) in enumerate(pieces):
        piece = bytes([index % 251]) * size
        whole += piece
        body.add(kind(piece))
    kept = whole[:3_000_000]
    assert body.size == len(whole)
    assert body.truncated == (len(whole) > len(kept))
    digest = body.close()
    assert digest == (hashlib.sha256(kept).hexdigest() if kept else None)
    if digest:
        assert (Path(spool.bodies) / digest).read_bytes() == kept
    assert not list(Path(spool.bodies).glob(".*.tmp"))


@given(st.text(max_size=80))
def test_any_traceparent_is_taken_or_left(text):
    found = contexts.parse(text)
    assert found is None or (len(found[0]), len(found[1])) == (32, 16)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.integers(0, 0xFE))
def test_valid_traceparents_are_taken(trace, span, version):
    found = contexts.parse(f"{version:02x}-{trace.hex()}-{span.hex()}-01")
    valid = any(trace) and any(span)
    assert found == ((trace.hex(), span.hex()) if valid else None)


def raised(depth, kind=ValueError):
    """An exception with a chain of `depth` causes and contexts in turn."""
    try:
        if depth:
            try:
                raised_inside(depth - 1)
            except KeyError as error:
                if depth % 2:
                    raise kind(f"level {depth}") from error
                raise kind(f"level {depth}")  # noqa: B904 - the context is what is tested
        raise KeyError("root")  # noqa: TRY301 - where it is raised is what is tested
    except (KeyError, kind) as error:
        return error


def raised_inside(depth):
    error = raised(depth, KeyError)
    raise error


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
def test_the_root_cause_and_its_frames(depth):
    found = failures.describe(raised(depth), "span_event")
    types = json.loads(found["butfor.exception.types"])
    assert types[0] == "KeyError"
    assert types[-1] == ("ValueError" if depth else "KeyError")
    assert found["butfor.exception.root_message"] == "'root'"
    assert json.loads(found["butfor.exception.frames"])[-1][2] == "raised"
    assert found["exception.stacktrace"].count("Traceback") == len(types)


def test_cycles_groups_and_hostile_messages_are_described():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert json.loads(failures.describe(first, "log")["butfor.exception.types"]) == ["ValueError", "ValueError"]

    class HostileError(Exception):
        def __str__(self):
            raise RuntimeError("no")

    assert "failed" in failures.describe(HostileError(), "log")["exception.message"]
    group = ExceptionGroup("several", [KeyError("inner"), OSError()])
    assert json.loads(failures.describe(group, "log")["butfor.exception.types"])[0] == "KeyError"


def test_deep_recursion_is_bounded():
    def deeper(n):
        return deeper(n + 1)

    with pytest.raises(RecursionError) as caught:
        deeper(0)
    found = failures.describe(caught.value, "log")
    assert len(json.loads(found["butfor.exception.frames"])) <= failures.FRAME_LIMIT
    assert len(found["exception.stacktrace"]) <= failures.STACK_LIMIT


def exchange(spool, **facts):
    return Exchange(spool, facts.pop("method", "GET"), "/x", facts.pop("headers", []), **facts)


@pytest.mark.parametrize(
    ("method", "status", "headers", "sent", "done", "ended"),
    [
        ("GET", 200, [("Content-Length", "3")], b"abc", True, None),
        ("GET", 200, [("content-length", "4")], b"abc", True, "truncated"),
        ("GET", 200, [("Content-Length", "4"), ("Content-Encoding", "gzip")], b"abc", True, None),
        ("GET", 200, [], b"abc", True, None),
        ("GET", 200, [], b"abc", False, "truncated"),
        ("HEAD", 200, [("Content-Length", "4")], b"", False, None),
        ("GET", 204, [], b"", False, None),
        ("GET", 304, [("Content-Length", "4")], b"", False, None),
        ("GET", 101, [], b"", False, None),
        ("GET", None, [], b"", False, "closed"),
    ],
)
def test_how_an_answer_ended(spool, method, status, headers, sent, done, ended):
    served = exchange(spool, method=method)
    if status is not None:
        served.answered(status, headers)
    if sent:
        served.sent(sent)
    if done:
        served.done()
    served.settle()
    assert served.ended == ended
    assert served.failing == (ended is not None)


def test_a_client_that_leaves_an_event_stream_has_not_given_up(spool):
    for kind, ended in (("text/event-stream; charset=utf-8", None), ("text/plain", "timeout")):
        served = exchange(spool)
        served.answered(200, [("Content-Type", kind)])
        served.client_left()
        served.settle()
        assert served.ended == ended


@pytest.mark.parametrize(
    ("method", "status", "sent", "ended"),
    [
        ("GET", 200, b"abcd", None),
        ("GET", 200, b"abc", "timeout"),
        ("HEAD", 200, b"", None),
        ("GET", 304, b"", None),
        ("GET", None, b"", "timeout"),
        ("HEAD", None, b"", "timeout"),
    ],
)
def test_a_client_that_has_all_it_was_promised_may_leave(spool, method, status, sent, ended):
    served = exchange(spool, method=method)
    if status is not None:
        served.answered(status, [("Content-Length", "4")])
    if sent:
        served.sent(sent)
    served.client_left()
    served.settle()
    assert served.ended == ended


def test_an_exception_seen_twice_is_described_once(spool):
    served, error = exchange(spool), raised(1)
    served.remember(error, "raised")
    served.remember(error, "log")
    served.failed(error)
    assert [e["butfor.exception.source"] for e in served.exceptions.values()] == ["span_event"]
    for _ in range(20):
        served.remember(raised(0), "raised")
    assert len(served.exceptions) <= 8


def test_thread_pools_carry_the_request(spool, monkeypatch):
    import concurrent.futures.thread as module

    monkeypatch.setattr(module.ThreadPoolExecutor, "submit", module.ThreadPoolExecutor.submit)
    contexts.hook_executors(module)
    served = exchange(spool)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(contexts.current.get).result() is None
        token = contexts.current.set(served)
        try:
            assert pool.submit(lambda a, *, b: (contexts.current.get(), a, b), 1, b=2).result() == (served, 1, 2)
        finally:
            contexts.current.reset(token)
        assert pool.submit(contexts.current.get).result() is None
    assert served.threads == set()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="raise events are new in 3.12")
def test_raise_events_choose_what_went_up_the_most_frames(spool):
    served = exchange(spool)
    assert raising.watch_raises()
    token = contexts.current.set(served)
    try:
        raised(0)
        try:
            raised_inside(0)
        except KeyError:
            served.answered(404, [])
    finally:
        contexts.current.reset(token)
        tool = next(number for number in range(6) if sys.monitoring.get_tool(number) == "butfor")
        sys.monitoring.free_tool_id(tool)
    served.status = 500
    raising.conclude(served)
    assert [e["exception.type"] for e in served.exceptions.values()] == ["KeyError"]


@given(st.lists(st.floats(0.001, 5), min_size=1, max_size=100))
def test_slow_is_slow_against_the_route_itself(durations):
    sampler = sampling.Sampler(lambda _: None)
    sampler._durations["GET /x"] = list(durations)
    median = sorted(durations)[len(durations) // 2]
    assert sampler.threshold("GET /x") == max(sampling.SLOW_S, sampling.TIMES_MEDIAN * median)
    assert sampler.threshold("GET /other") == sampling.SLOW_S


def test_stacks_are_folded_and_bounded(spool):
    served = exchange(spool)
    code = test_stacks_are_folded_and_bounded.__code__
    for line in range(1000):
        sampling._count(served, ((code, line),))
    assert len(served.samples) == sampling.STACKS
    assert sum(served.samples.values()) == 1000


def test_hooks_run_once_after_the_real_module(tmp_path, monkeypatch):
    monkeypatch.setattr(boundaries, "notes", {})
    (tmp_path / "hooked_by_test.py").write_text("value = 1\n")
    (tmp_path / "broken_by_test.py").write_text("raise ImportError('its own')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen, ran = [], []
    hooks = importing.Hooks(ran.append)
    monkeypatch.setattr(sys, "meta_path", [hooks, *sys.meta_path])

    def hook(module):
        seen.append(module.value)
        module.value = 2

    def failing(module):
        raise RuntimeError("ours")

    hooks.add("hooked_by_test", hook)
    hooks.add("hooked_by_test", failing)
    hooks.add("broken_by_test", hook)
    hooks.add("json", lambda module: seen.append(module.__name__))
    import hooked_by_test

    assert (seen, hooked_by_test.value) == (["json", 1], 2)
    assert type(hooked_by_test.__loader__) is not importing._Loader
    assert hooked_by_test.__spec__.loader is hooked_by_test.__loader__
    assert "hooked_by_test:hook" in ran
    assert any("ours" in note for note in boundaries.notes)
    with pytest.raises(ImportError, match="its own"):
        import broken_by_test  # noqa: F401


def test_notes_are_bounded(monkeypatch):
    monkeypatch.setattr(boundaries, "notes", {})
    for number in range(200):
        assert boundaries.attempt("test", int, f"x{number}") is None
    assert len(boundaries.notes) <= boundaries.LIMIT + 1
    assert sum(boundaries.notes.values()) == 200


def test_printed_tracebacks_are_remembered_only_while_serving(spool, monkeypatch):
    monkeypatch.setattr(traceback.TracebackException, "__init__", traceback.TracebackException.__init__)
    raising.hook_traceback(traceback)
    served = exchange(spool)
    traceback.format_exception(None, raised(1), None)
    token = contexts.current.set(served)
    try:
        error = raised(1)
        traceback.format_exception(type(error), error, error.__traceback__)
    finally:
        contexts.current.reset(token)
    assert [e["exception.type"] for e in served.exceptions.values()] == ["ValueError"]


def test_severities_cover_every_level():
    for level in (0, 5, 10, 25, 30, 45, 50, 99):
        assert next(text for least, _, text in logs._SEVERITIES if level >= least)
