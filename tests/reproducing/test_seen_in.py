"""What the kernel saw in each answer's own service: nothing is said where it was not, or only partly, watched."""

import pyarrow as pa
import pytest

from butfor.evidence.bundles import Loss
from butfor.evidence.plays import AnswerRecord, Observation
from butfor.evidence.predicates import FailurePredicate, KernelFailure
from butfor.evidence.recordings import KernelRecording
from butfor.reproducing.signatures import seen_in, shown

from .kernel_rows import process, recorded, row

REFUSED = KernelFailure(kind="connect", errno="ECONNREFUSED", target_type="inet")
PREDICATE = FailurePredicate(service="web", method="GET", route="/", kernel=[REFUSED], by_kernel=True)
LOST = [Loss(where="kernel events", count=1, reason="the buffer was full")]


def observed(folder, losses=(), reason=""):
    answers = [AnswerRecord(id=f"r{i}", role="failing", trace_id=trace * 32) for i, trace in enumerate("ab")]
    recording = KernelRecording(folder=folder, losses=list(losses), reason=reason)
    return Observation(folder=folder, spool=folder, started=True, answers=answers, kernel_recording=recording)


def test_each_answer_has_what_failed_in_its_own_trace_and_service(tmp_path):
    recorded(tmp_path, [row("a"), row("b", pid=2), row("b", errno="ENOENT")], [process(1), process(2, "audit")])
    assert seen_in(observed(tmp_path), PREDICATE) == [[REFUSED], []]
    assert shown(tmp_path) == [REFUSED]


def test_what_is_not_joined_for_sure_is_no_answers(tmp_path):
    recorded(tmp_path, [row("a", join="socket")], [process(1)])
    assert seen_in(observed(tmp_path), PREDICATE) == [[], []]


@pytest.mark.parametrize("missing", [{"losses": LOST}, {"reason": "the agent ended"}])
def test_of_what_was_recorded_in_part_only_what_is_there_counts(tmp_path, missing):
    recorded(tmp_path, [row("a")], [process(1)])
    assert seen_in(observed(tmp_path, **missing), PREDICATE) == [[REFUSED], None]


def test_a_service_whose_requests_the_kernel_cannot_know_tells_nothing(tmp_path):
    recorded(tmp_path, [row("a")], [process(1, context="not published")])
    assert seen_in(observed(tmp_path), PREDICATE) == [None, None]


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, None])
def test_what_cannot_be_read_tells_nothing(tmp_path, content):
    recorded(tmp_path, [row("a")], [process(1)])
    for name in ("kernel.arrow", "processes.arrow"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
        assert seen_in(observed(tmp_path), PREDICATE) == [None, None]
        (tmp_path / name).write_bytes(whole)
    assert isinstance(pa.ipc.open_stream((tmp_path / "kernel.arrow").read_bytes()).read_all(), pa.Table)


DIED = KernelFailure(kind="signal", errno="SIGSEGV", target_type="process")


@pytest.mark.parametrize(
    ("forks", "at", "expected"),
    [
        ([("a", 1, 7)], 50, [[DIED], []]),
        ([("a", 1, 9), ("", 9, 7)], 50, [[DIED], []]),
        ([("a", 1, 7)], 150, [[], []]),  # after the answer it may serve others
        ([("", 1, 7)], 50, [[], []]),
    ],
)
def test_the_end_of_a_process_is_of_the_answer_it_was_forked_for(tmp_path, forks, at, expected):
    rows = [
        row(trace or "0", kind="fork", errno="", failure=False, pid=pid, value=child, time_ns=10 + i,
            **({} if trace else {"join": "none", "trace_id": ""}))
        for i, (trace, pid, child) in enumerate(forks)
    ]  # fmt: skip
    rows.append(row("0", kind="signal", errno="", value=11, family="", pid=7, time_ns=at, join="none", trace_id=""))
    recorded(tmp_path, rows, [process(pid) for pid in (1, 7, 8, 9)])
    seen = observed(tmp_path)
    timed = [one.model_copy(update={"start_ns": 0, "seconds": 100e-9}) for one in seen.answers]
    wanted = PREDICATE.model_copy(update={"kernel": [DIED]})
    assert seen_in(seen.model_copy(update={"answers": timed}), wanted) == expected


def test_long_waits_for_a_lock_count_where_they_tell_the_failure(tmp_path):
    waits = {"kind": "off_cpu", "call": "futex", "errno": "", "family": "", "failure": False}
    recorded(tmp_path, [row("a", **waits, duration_ns=10**9), row("b", **waits, duration_ns=10**7)], [process(1)])
    lock = KernelFailure(kind="off_cpu", errno="", target_type="lock")
    assert seen_in(observed(tmp_path), PREDICATE.model_copy(update={"kernel": [lock]})) == [[lock], []]
    assert seen_in(observed(tmp_path), PREDICATE) == [[], []]
