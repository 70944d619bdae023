"""The text form of a history is read as a person means it; what does not fit is refused."""

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.demo.replays import replay
from butfor.demo.steps import read_steps

FIRST = "commit 2025-01-01T10:00:00+0100 mara\n    One\n\ncreate a.txt\n+x\n+y\n+x\n"
SECOND = "commit 2025-01-02T10:00:00+0100 mara\n    Two\n\n"
NONE = dict[str, str]().__getitem__


def trees(text, incident=""):
    return [made.tree for made in replay(read_steps(text), NONE, incident)]


def test_messages_keep_their_paragraphs():
    (step,) = read_steps("commit 2025-01-01T10:00:00+0100 mara\n    Subject\n\n    Why.\n\nadd a\ntag v1\n")
    assert (step.message, step.tag, [one.path for one in step.changes]) == ("Subject\n\nWhy.\n", "v1", ["a"])


def test_a_plant_is_done_in_its_own_history_only():
    text = FIRST + SECOND + "change a.txt\n@@\n-y\n+z\nplant other\nchange a.txt\n@@\n-z\n+Z\n"
    assert trees(text)[-1] == {"a.txt": "x\nz\nx\n"}
    assert trees(text, "other")[-1] == {"a.txt": "x\nZ\nx\n"}
    assert [made.planted for made in replay(read_steps(text), NONE, "other")] == [False, True]


def test_a_merge_brings_in_what_the_branch_did_and_keeps_what_main_did():
    branch = SECOND + "branch side\nchange a.txt\n@@\n-y\n+why\n"
    text = FIRST + branch + SECOND + "create b.txt\n+b\n" + SECOND + "merge side\n"
    made = list(replay(read_steps(text), NONE, ""))
    assert [one.parents for one in made] == [(), (1,), (1,), (3, 2)]
    assert made[2].tree == {"a.txt": "x\ny\nx\n", "b.txt": "b\n"}
    assert made[3].tree == {"a.txt": "x\nwhy\nx\n", "b.txt": "b\n"}


def test_a_file_is_renamed():
    assert trees(FIRST + SECOND + "rename a.txt b.txt\n")[-1] == {"b.txt": "x\ny\nx\n"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("add a", "line 1: a history begins"),
        (FIRST + "nonsense", "line 8: 'nonsense'"),
        (FIRST + SECOND + "change a.txt\n@@\n-x\n+z\n", "Two: a.txt: these lines were found 2 times"),
        (FIRST + SECOND + "change a.txt\n@@\n-q\n+z\n", "found 0 times"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(text, message):
    with pytest.raises(ValueError, match=message):
        trees(text)


LINES = st.lists(st.text(alphabet="ab +-@", max_size=4).filter(lambda line: line != "?"), min_size=1, max_size=12)


@given(old=LINES, new=LINES)
def test_any_edit_can_be_told(old, new):
    told = [line[0] + line[2:] for line in difflib.ndiff(old, new) if not line.startswith("?")]
    text = "\n".join([
        "commit 2025-01-01T10:00:00+0100 mara", "    One", "", "create a", *(f"+{line}" for line in old),
        SECOND.rstrip("\n"), "", "change a", "@@", *told,
    ])  # fmt: skip
    assert trees(text)[-1]["a"] == "".join(f"{line}\n" for line in new)
