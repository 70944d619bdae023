"""Service descriptions: read from YAML, or refused in one line."""

import pytest

from butfor.errors import UserError
from butfor.investigating.descriptions import parse


def test_one_service_and_a_list_of_them():
    assert [s.name for s in parse(b"name: web\nrun: serve\n", "x")] == ["web"]
    assert [s.name for s in parse(b"services:\n- {name: a, run: b}\n- {name: c, run: d}\n", "x")] == ["a", "c"]


@pytest.mark.parametrize("content", [b"", b"5", b"name: web", b"- 1", b"\xff", b"{", b"name: '../x'\nrun: y"])
def test_what_describes_no_service_is_refused_in_one_line(content):
    with pytest.raises(UserError) as caught:
        parse(content, "butfor.yaml")
    assert str(caught.value).startswith("butfor.yaml")
    assert "\n" not in str(caught.value)
