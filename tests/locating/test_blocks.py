"""A file that is read by its blocks reads as it would as a whole."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import butfor
from butfor.locating import blocks
from butfor.locating.blocks import Parser
from butfor.locating.sources import Source, read

FILES = sorted(Path(butfor.__file__).parent.rglob("*.py"))
LINES = (
    "import a", "x = 1", "def f(y=1):", "    return y", "@mark", "@mark(", "  1)", "class C(B):", "    z = 2", "    def m(self):",
    "        pass", '"""', "if x:", "else:", "async def g():", "", "# note", "x = [", "]", "    @deco", "    if z: pass",
)  # fmt: skip


def whole(text: str) -> Source:
    """Read without cuts: a carriage return in a last comment has the file parsed in one piece."""
    return read(text + "#\r", "a.py")


def flat(source: Source) -> list[tuple[object, ...]]:
    regions = sorted(source.regions, key=lambda r: (r.line, r.name))
    return [
        (r.name, r.line, [(s.line, s.end, s.text, s.enclosing, s.tokens, s.calls) for s in r.statements]) for r in regions
    ]  # fmt: skip


@pytest.mark.parametrize("path", FILES[::12], ids=lambda p: p.name)
def test_real_files_read_the_same_by_blocks(path: Path) -> None:
    text = path.read_text()
    assert flat(read(text, "a.py")) == flat(whole(text))


@given(st.lists(st.sampled_from(LINES), max_size=14))
def test_any_lines_read_the_same_by_blocks(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    cut, uncut = read(text, "a.py"), whole(text)
    assert cut.python == uncut.python
    if cut.python:
        assert flat(cut) == flat(uncut)


def test_an_unchanged_block_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(blocks, "_parsed", lambda text: parsed.append(text) or ast.parse(text))
    parser = Parser()
    text = "import a\n\ndef f():\n    return 1\n\n@mark\ndef g():\n    return 2\n"
    one, two = read(text, "a.py", parser), read(text.replace("return 1", "return 3"), "a.py", parser)
    assert len(parsed) == 4
    assert one.by_name["g"].statements[-1].said is two.by_name["g"].statements[-1].said


def test_what_a_parser_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MOST_TEXT", 1000)
    parser = Parser()
    for n in range(200):
        assert read(f"def f{n}():\n    return {n}\n", "a.py", parser).python
    assert sum(map(len, parser._known)) <= 1000
