"""A failing request that differs from healthy ones by a sign alone."""

from dataclasses import replace

import pytest

from butfor.evidence.graphs import CausalGraph, Slice
from butfor.locating.blocks import Parser
from butfor.locating.rankings import locate
from butfor.locating.signs import sent, signs
from butfor.locating.sources import read

from .conftest import timelines

QUERY = "def fields(query):\n    return query.replace(';', '&').split('&')\n\n\ndef other(text):\n    return text\n"


def asked(failing: str, healthy: str):
    lines = timelines(target=failing, healthy=(healthy,))
    return replace(lines, predicate=lines.predicate.model_copy(update={"status": 200}))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x.split('; ')", {";"}), ("x.split(b'&')", {"&"}), ("x.split('a;')", set()), ("x + ''", set()),
        ("f('.' * 3, \"'\")", {".", "'"}), ("f('=========')", set()),
    ],
)  # fmt: skip
def test_signs_of_a_statement_stand_in_strings_without_letters(text, found):
    (statement,) = read(text, "m.py", Parser()).regions[0].statements
    assert signs(statement) == found


def test_only_what_no_healthy_request_sends_tells():
    assert set(sent(asked("/a?x=1;y=2", "/a?x=1&y=2"), [])) == {";"}
    assert sent(asked("/a?x=1&y=2", "/a?x=1&y=2"), []) == {}
    assert set(sent(asked("/a?x=%27", "/a?x=%20"), [])) == {"'"}
    assert sent(replace(asked("/a;b", "/a"), healthy=[]), []) == {}


def test_a_change_of_how_a_sign_is_read_comes_first(builder, opened):
    good = builder.commit("first", app_py=QUERY)
    culprit = builder.commit("strict", app_py=QUERY.replace(".replace(';', '&')", ""))
    now = QUERY.replace(".replace(';', '&')", "").replace(
        "return text\n", "text = text.strip()\n    return text or ''\n"
    )
    bad = builder.commit("more", app_py=now)
    lines = asked("/goods?color=red;size=small", "/goods?color=red&size=large")
    ranking = locate(CausalGraph(), Slice(), lines, opened, good, bad)
    assert ranking.suspects[0].commit == culprit
    assert any("only failing requests send ';'" in feature.detail for feature in ranking.suspects[0].features)
