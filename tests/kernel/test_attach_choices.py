"""Which way of attaching is taken, and what is said of those that were not."""

import pytest
from butfor_agent import attaching
from butfor_agent.attaching import WAYS, Choice
from butfor_agent.libbpf import BpfError
from hypothesis import given
from hypothesis import strategies as st

SECTIONS = {
    "sent": "raw_tp/sent", "sent__tp_btf": "tp_btf/sent", "sent__fentry_v4": "fentry/sent_v4",
    "sent__fexit_v6": "fexit/sent_v6", "sent__kprobe": "kprobe/sent", "other": "raw_tp/other",
}  # fmt: skip


def test_the_first_way_is_taken_where_nothing_is_refused():
    choice = Choice()
    assert choice.pick(SECTIONS) == {"sent", "other"}
    assert choice.taken(["sent", "other"]) == "raw_tp"


def test_one_refused_program_moves_its_handler_alone_and_all_functions_of_the_next_way():
    choice = Choice(["raw_tp", "fentry"])
    choice.pick(SECTIONS)
    choice.refuse("sent", "ENOENT")
    assert choice.pick(SECTIONS) == {"sent__fentry_v4", "sent__fexit_v6", "other"}
    assert choice.taken(["sent__fentry_v4", "sent__fexit_v6", "other"]) == "raw_tp, fentry; sent not by raw_tp: ENOENT"


def test_a_handler_without_a_way_says_why_for_each():
    choice = Choice(["raw_tp", "kprobe"])
    choice.pick(SECTIONS)
    choice.refuse("other", "EPERM")
    with pytest.raises(BpfError, match="other cannot be attached: raw_tp: EPERM; kprobe: no kernel function"):
        choice.pick(SECTIONS)


def test_functions_that_are_never_entered_are_no_way(monkeypatch, tmp_path):
    monkeypatch.setattr(attaching, "_PRESSURE", tmp_path / "cpu")
    sections = {"switched": "raw_tp/sched_switch", "switched__kprobe": "kprobe/psi_task_switch"}
    choice = Choice(["kprobe", "raw_tp"])
    assert choice.pick(sections) == {"switched"}
    assert "does not account pressure" in choice.taken(["switched"])
    (tmp_path / "cpu").write_text("some avg10=0.00\n")
    assert Choice(["kprobe"]).pick(sections) == {"switched__kprobe"}


@given(st.lists(st.sampled_from(sorted(SECTIONS)), max_size=12))
def test_each_handler_has_programs_of_one_way_or_it_is_refused(refused):
    choice = Choice()
    for name in refused:
        try:
            picked = choice.pick(SECTIONS)
        except BpfError:
            assert {way for _, way in choice.refused} >= set(WAYS)  # of one handler, all of them
            return
        assert {name.partition("__")[0] for name in picked} == {"sent", "other"}
        choice.refuse(name, "EPERM")


def test_an_order_is_read_and_a_way_that_is_none_is_refused():
    assert attaching.ways("") == WAYS
    assert attaching.ways("kprobe,raw_tp") == ("kprobe", "raw_tp")
    with pytest.raises(ValueError, match="bogus is no way of attaching; ways are raw_tp"):
        attaching.ways("bogus")


def test_every_program_of_every_probe_says_its_way(objects):
    from butfor_agent.building import PROBES
    from elftools.elf.elffile import ELFFile

    for probe in PROBES:
        with (objects / f"{probe}.bpf.o").open("rb") as stream:
            kinds = {name.partition("/")[0] for s in ELFFile(stream).iter_sections() if "/" in (name := s.name)}
        assert kinds - {kind for kind in kinds if kind.startswith(".rel")} <= set(attaching._SECTIONS)
