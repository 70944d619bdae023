"""The doctor says what works by a real try, and an ordinary user gets reasons instead of errors."""

import pytest
from butfor_agent import trials
from butfor_agent.libbpf import BpfError

from butfor.cli import doctors
from butfor.ports import examinations
from butfor.ports.examinations import Finding

WAYS = {"raw_tracepoint", "tracepoint", "tp_btf", "kprobe", "fentry", "uprobe", "perf"}


def test_every_way_of_attaching_is_answered_with_a_reason():
    found = trials.tried()
    assert set(found) == WAYS
    assert {state for state, _ in found.values()} <= {"yes", "no", "unknown"}
    assert all(why for _, why in found.values())


def test_what_the_trials_say_is_what_the_agent_can_do(bpf):
    found = {finding.name: finding.state for finding in examinations.examined()}
    assert found["raw_tracepoint"] == found["kernel events"] == "yes"


@pytest.mark.parametrize(
    ("failure", "state", "why"),
    [
        (OSError(1, "Operation not permitted"), "no", "EPERM (Operation not permitted)"),
        (BpfError("the verifier refused it: R1"), "no", "the verifier refused it: R1"),
        (trials.Absent("CONFIG_KPROBES is not set"), "no", "CONFIG_KPROBES is not set"),
        (trials.Untried("not known how on vax"), "unknown", "not known how on vax"),
    ],
)
def test_a_refusal_is_an_answer(monkeypatch, failure, state, why):
    def way(_library):
        raise failure

    monkeypatch.setattr(trials.os, "geteuid", lambda: 0)
    monkeypatch.setattr(trials, "library", lambda: None)
    assert trials._try(way) == (state, why)


def test_without_root_nothing_is_tried_and_that_is_unknown(monkeypatch):
    monkeypatch.setattr(trials.os, "geteuid", lambda: 1000)
    assert {state for state, _ in trials.tried().values()} == {"unknown"}


def test_missing_kernel_evidence_is_said_and_does_not_fail_the_doctor(monkeypatch, capsys):
    import typer

    monkeypatch.setattr(
        doctors, "needed", lambda: [Finding("git", "yes", "/usr/bin/git"), Finding("two users", "no", "x")]
    )
    monkeypatch.setattr(doctors, "examined", lambda: [Finding("kernel events", "no", "kernel events need root")])
    with pytest.raises(typer.Exit) as done:
        doctors.doctor()
    assert done.value.exit_code == 0
    assert "kernel evidence: no" in capsys.readouterr().out


def test_what_every_investigation_needs_does_fail_it(monkeypatch):
    import typer

    monkeypatch.setattr(doctors, "needed", lambda: [Finding("git", "no", "install git")])
    monkeypatch.setattr(doctors, "examined", list)
    with pytest.raises(typer.Exit) as done:
        doctors.doctor()
    assert done.value.exit_code == 1
