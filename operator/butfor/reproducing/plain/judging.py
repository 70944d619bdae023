"""Good, bad or cannot tell: the judgement of one run, standard library only.

    bad      an answer to a failing request matches the whole failure predicate
    good     every failing request got good's answer, and every healthy request its own; of a failure that is an error,
             another sound answer is none (`answers.alike`): features come and go between good and bad
    unknown  everything else: not started, failed otherwise, healthy differs, ran another tree

An exception's type alone never decides, and an infrastructure error is never bad.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from . import answers, tracebacks

Json = dict[str, Any]
ABSENT = "the kernel did not see "


class Case:
    """What one run is judged by. All values are plain JSON: predicate, {request id: expectation}, renames."""

    def __init__(
        self,
        predicate: Json,
        expected: dict[str, Json],
        *,
        renames: dict[str, str] | None = None,
        roots: list[str] | None = None,
    ) -> None:
        self.predicate = predicate
        self.expected = expected
        self.renames = renames or {}
        self.roots = roots or []


def decide(observation: Json, case: Case, *, ran_worktree: bool | None = None) -> Json:
    """Judge a run.

    Returns judgement, reason, answers [{id, role, status, seconds, as_good, as_failure, why}] and exceptions
    [one line each].
    """
    if observation.get("infrastructure"):
        return _unknown(f"could not be run: {_one_line(observation.get('reason'))}")
    if not observation.get("started"):
        return _unknown(f"does not start: {_one_line(observation.get('reason')) or 'no reason was given'}")
    if ran_worktree is False:
        return _unknown("ran something else: the repository's modules were not loaded from the tree under test")
    seen = _Exceptions(observation, case.roots)
    judged = [_judged(answer, case, seen) for answer in observation.get("answers", []) if answer["role"] != "before"]
    judged = _by_median(judged, case)
    judgement, reason = _verdict(judged)
    return {"judgement": judgement, "reason": reason, "answers": judged, "exceptions": seen.described()}


class _Exceptions:
    """The exceptions of a run: by trace where injected, else those of the log."""

    def __init__(self, observation: Json, roots: list[str]) -> None:
        spool = observation.get("spool")
        self.by_trace = tracebacks.from_spool(Path(spool), roots) if spool else {}
        self.of_log: list[tracebacks.Seen] = []
        for path in (observation.get("logs") or {}).values():
            self.of_log += tracebacks.from_log(read_tail(Path(path), tracebacks.LOG_LIMIT), roots)

    def of(self, trace: str) -> list[tracebacks.Seen]:
        """Return those of a request; those of the log where nothing is tied to any request."""
        return self.by_trace.get(trace) or ([] if self.by_trace else self.of_log)

    def described(self) -> list[str]:
        every = [seen for found in self.by_trace.values() for seen in found] or self.of_log
        return list(dict.fromkeys(tracebacks.described(seen) for seen in every))[:20]


def _judged(answer: Json, case: Case, seen: _Exceptions) -> Json:
    headers = [(str(k), str(v)) for k, v in answer.get("headers") or []]
    body = _body(answer)
    as_good, why = _as_good(answer, headers, body, case)
    failure, alike = "not a failing request", False
    if answer["role"] == "failing":
        failure = _failure(answer, headers, body, case, seen, as_good)
        alike = as_good is False and bool(failure) and _alike(answer, headers, body, case)
    return {
        "id": answer["id"],
        "role": answer["role"],
        "status": answer.get("ended") or answer.get("status") or "closed",
        "seconds": answer.get("seconds", 0.0),
        "as_good": as_good,
        "as_failure": failure == "",
        "alike": alike,
        "why": "" if as_good or not failure else "; ".join(filter(None, (why, failure)))[:400],
    }


def _as_good(answer: Json, headers: answers.Headers, body: bytes, case: Case) -> tuple[bool | None, str]:
    expected = case.expected.get(answer["id"])
    if answer.get("skipped"):
        return False, f"was not sent: {answer['skipped']}"
    if expected is None:
        return None, ""
    if answer.get("ended") or not answer.get("complete", True):
        broken = answer.get("ended") or "truncated"
        return broken == expected["status"], f"{broken}, good answers {expected['status']}"
    limit = case.predicate.get("slower_than_s")
    if (
        answer["role"] == "failing"
        and limit
        and answer.get("seconds", 0.0) > limit
        and not case.predicate.get("repeat")
    ):
        return False, f"{answer['seconds']:.3f} s is over {limit:.3f} s"
    if answer["role"] == "failing" and case.predicate.get("by_kernel"):
        why = _beneath(answer, case.predicate)
        unknown = why is not None and not why.startswith(ABSENT)
        if unknown or (why is None and not _waits(case)):
            return False, why or "the kernel saw it fail as captured"
    how, why = answers.compare(expected, answer.get("status"), headers, body)
    return bool(how), why


def _alike(answer: Json, headers: answers.Headers, body: bytes, case: Case) -> bool:
    """Tell whether an answer is a sound one, though not good's, where the failure is an error and no wrong value."""
    predicate, expected = case.predicate, case.expected.get(answer["id"])
    status = predicate.get("status") or 0
    error = status >= answers.ERROR or predicate.get("exception_types") or predicate.get("ended")
    whole = not answer.get("skipped") and not answer.get("ended") and answer.get("complete", True)
    if expected is None or not error or not whole or predicate.get("answer") or predicate.get("slower_than_s"):
        return False
    return answers.alike(expected, answer.get("status"), headers, body)


def _failure(
    answer: Json, headers: answers.Headers, body: bytes, case: Case, seen: _Exceptions, as_good: bool | None
) -> str:
    """Return an empty string if the answer matches the whole predicate or another form of it, else why not."""
    if answer.get("skipped"):
        return f"was not sent: {answer['skipped']}"
    forms = [case.predicate, *(case.predicate.get("also") or [])]
    why = [_matched(form, answer, headers, body, case, seen, as_good) for form in forms]
    return "" if "" in why else why[0]


def _matched(
    predicate: Json, answer: Json, headers: answers.Headers, body: bytes, case: Case, seen: _Exceptions,
    as_good: bool | None,
) -> str:  # fmt: skip
    if predicate.get("by_kernel"):
        return _beneath(answer, predicate) or ""
    why = _outcome(answer, predicate) or _property(predicate.get("answer"), answer, headers, body, as_good)
    if why or not (predicate.get("exception_types") or predicate.get("frame")):
        return why
    found = seen.of(answer.get("trace_id", ""))
    if not found:
        return "no exception was seen, so it cannot be told whether it is this failure"
    others = [tracebacks.matches(predicate, one, case.renames) for one in found]
    return "" if "" in others else others[-1]


def _beneath(answer: Json, predicate: Json) -> str | None:
    """Return None if the kernel saw all of the failure in the request, else why it is not, or cannot be, known."""
    seen = answer.get("kernel")
    if seen is None:
        return "the kernel was not watched, so it cannot be told whether it is this failure"
    lacking = [_words(one) for one in predicate.get("kernel") or [] if _words(one) not in {_words(s) for s in seen}]
    return f"{ABSENT}{', '.join(lacking)}" if lacking else None


def _words(one: Json) -> str:
    return " ".join(part for part in (one["kind"], one["errno"], one["target_type"]) if part)


def _outcome(answer: Json, predicate: Json) -> str:
    """Compare status, end and duration."""
    ended, status = answer.get("ended"), answer.get("status")
    if ended == "refused":
        return "the connection was refused: the service was gone"
    broke_off = status is not None and not answer.get("complete", True) and ended != "timeout"
    got = "truncated" if broke_off else ended
    if predicate.get("ended") != got:
        return f"ended: {got or 'whole'}, not {predicate.get('ended') or 'whole'}"
    if predicate.get("status") is not None and status != predicate["status"]:
        return f"status {status}, not {predicate['status']}"
    limit = predicate.get("slower_than_s")
    if limit and answer.get("seconds", 0.0) <= limit:
        return f"{answer['seconds']:.3f} s is not over {limit:.3f} s"
    return ""


def _property(wanted: Json | None, answer: Json, headers: answers.Headers, body: bytes, as_good: bool | None) -> str:
    if not wanted:
        return ""
    text = answers.decoded(body, headers).decode("utf-8", "replace")
    value = wanted.get("value", "")
    held = {
        "body_truncated": not answer.get("complete", True),
        "body_contains": value in text,
        "body_lacks": value not in text,
        "header_missing": not answers.header(headers, value),
        "body_differs": as_good is not True,
        "tokens_lost": wanted["kind"] == "tokens_lost" and not answers.tokens(body, headers) & set(json.loads(value)),
        "header_is": value == f"{value.partition(': ')[0]}: {answers.header_value(headers, value.partition(': ')[0])}",
    }
    return "" if held[wanted["kind"]] else f"the answer is not so: {wanted['kind']} {value}".strip()


def _by_median(judged: list[Json], case: Case) -> list[Json]:
    """Judge a slowness that is measured several times in a run by its median: one hiccup decides nothing."""
    if _waits(case):
        return [_often(one, judged) for one in judged]
    limit = case.predicate.get("slower_than_s")
    if not limit or not case.predicate.get("repeat"):
        return judged
    return [_measured(one, judged, limit) for one in judged]


def _waits(case: Case) -> bool:
    """Tell whether it is a wait for a lock, measured several times: on a busy machine anything waits now and then."""
    lock = any(one["target_type"] == "lock" for one in case.predicate.get("kernel") or [])
    return bool(case.predicate.get("by_kernel") and case.predicate.get("repeat") and lock)


def _often(one: Json, judged: list[Json]) -> Json:
    """Half of a request's answers must have waited, as with a median."""
    shown = [other["as_failure"] for other in judged if other["id"] == one["id"]]
    return {**one, "as_failure": one["as_failure"] and 2 * sum(shown) >= len(shown)}


def _measured(one: Json, judged: list[Json], limit: float) -> Json:
    if one["role"] != "failing" or not isinstance(one["status"], int):
        return one
    slow = statistics.median(other["seconds"] for other in judged if other["id"] == one["id"]) > limit
    return {**one, "as_good": one["as_good"] and not slow, "as_failure": slow and one["as_good"] is not False}


def _verdict(judged: list[Json]) -> tuple[str, str]:
    failing = [one for one in judged if one["role"] == "failing"]
    healthy = [one for one in judged if one["role"] == "healthy"]
    if not failing:
        return "unknown", "no failing request was answered"
    matching = [one for one in failing if one["as_failure"]]
    if matching:
        return "bad", f"{len(matching)} of {len(failing)} failing requests failed as captured"
    off = next((one for one in failing if not one["as_good"] and not one["alike"]), None)
    if off is not None:
        return "unknown", f"request {off['id']} neither failed as captured nor got good's answer: {off['why']}"
    off = next((one for one in healthy if one["as_good"] is False), None)
    if off is not None:
        return "unknown", f"healthy request {off['id']} did not get its answer: {off['why']}"
    others = sum(one["alike"] for one in failing)
    said = f", {others} of them sound ones with other values" if others else ""
    return "good", f"{len(failing)} failing and {len(healthy)} healthy requests got good's answers{said}"


def _unknown(reason: str) -> Json:
    return {"judgement": "unknown", "reason": reason, "answers": [], "exceptions": []}


def _body(answer: Json) -> bytes:
    path = answer.get("body")
    if not path:
        return b""
    with Path(path).open("rb") as file:
        return file.read(answers.BODY_LIMIT)


def read_tail(path: Path, limit: int) -> str:
    """Return the last `limit` bytes of a log as text; nothing for what is no plain file."""
    if not path.is_file() or path.is_symlink():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - limit))
        return file.read(limit).decode("utf-8", "replace")


def _one_line(text: Any) -> str:
    return " ".join(str(text or "").split())[:300]
