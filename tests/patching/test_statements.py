"""Parts of a change: all together they are the change, and each keeps statements whole."""

import ast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butfor.patching.alignments import align
from butfor.patching.edits import apply
from butfor.patching.statements import changed_parts

simple = st.sampled_from(
    ["a = 1", "b = a + 1", "call(a, b)", "return a", "# note\nc = 3", "x = {\n    'k': 1,\n    'l': 2,\n}", "pass"]
)
tests = st.sampled_from(["a", "a == 1", "b", "not b"])


def indented(lines):
    return "\n".join("    " + line if line else line for line in lines.split("\n"))


def compound(body):
    block = st.lists(body, min_size=1, max_size=3).map("\n".join).map(indented)
    return st.one_of(
        st.builds("if {}:\n{}".format, tests, block),
        st.builds("if {}:\n{}\nelif {}:\n{}\nelse:\n{}".format, tests, block, tests, block, block),
        st.builds("for i in {}:\n{}".format, tests, block),
        st.builds("try:\n{}\nexcept ValueError:\n{}\nfinally:\n{}".format, block, block, block),
        st.builds("with {}:\n{}".format, tests, block),
        st.builds("def {}():\n{}".format, st.sampled_from("fgh"), block),
        st.builds("class K:\n{}".format, block),
    )


modules = st.lists(st.recursive(simple, compound, max_leaves=8), max_size=5).map(
    lambda parts: ("\n".join(parts) + "\n").encode()
)


def flat(parts):
    return [edit for part in parts for edit in part.edits]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(modules, modules)
def test_all_parts_together_make_the_new_statements(old, new):
    parts = changed_parts("p.py", old, new)
    assert ast.dump(ast.parse(apply(old, flat(parts)))) == ast.dump(ast.parse(new))
    for part in parts:
        for piece in part.walk():
            assert piece.edits
            assert not piece.parts or flat(piece.parts) == list(piece.edits)


@settings(deadline=None, max_examples=20)
@given(modules)
def test_the_same_statements_have_no_parts(content):
    assert changed_parts("p.py", content, b"# a comment\n" + content) == []


def test_a_header_can_be_put_back_without_its_body():
    old = b"def f(db):\n    for name in db.keys():\n        x = one(name)\n        y = two(x)\n    return y\n"
    new = b"def f(db):\n    for name, x in db.items():\n        y = three(x)\n    return y\n"
    (root,) = changed_parts("p.py", old, new)
    header = next(part for part in root.walk() if part.label == "for name, x in db.items():" and not part.parts)
    assert apply(old, header.edits) == old.replace(b"for name in db.keys():", b"for name, x in db.items():")


def test_one_branch_of_a_chain_is_a_part_of_its_own():
    old = b"if s == 1:\n    a()\nelif s == 2:\n    b()\n    c()\nelif s == 3:\n    d()\n"
    new = b"if s == 1:\n    a()\nelif s == 3:\n    e()\n    d()\n"
    (root,) = changed_parts("p.py", old, new)
    texts = {apply(old, part.edits) for part in root.walk()}
    assert old.replace(b"    d()", b"    e()\n    d()") in texts
    assert old.replace(b"elif s == 2:\n    b()\n    c()\n", b"") in texts


def test_lines_of_a_long_statement_are_parts():
    old = b"x = {\n    'a': 1,\n    'b': 2,\n    'c': 3,\n}\n"
    new = b"x = {\n    'a': 9,\n    'b': 2,\n    'c': 8,\n}\n"
    (root,) = changed_parts("p.py", old, new)
    assert {apply(old, part.edits) for part in root.walk()} == {
        new, old.replace(b"1", b"9"), old.replace(b"3", b"8"),
    }  # fmt: skip


def test_what_is_no_python_or_does_not_parse_gives_its_hunks():
    old, new = b"<a>\n<b>\n<c>\n<d>\n", b"<a>\n<B>\n<c>\n<D>\n"
    for path in ("page.html", "p.py"):
        (root,) = changed_parts(path, old, new)
        assert {apply(old, part.edits) for part in root.walk()} == {
            new, old.replace(b"<b>", b"<B>"), old.replace(b"<d>", b"<D>"),
        }  # fmt: skip
    assert changed_parts("page.html", old, old) == []
    assert flat(changed_parts("p.py", b"a = 1\n", b"\x00"))


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd"), max_size=8), st.lists(st.sampled_from("abcd"), max_size=8))
def test_an_alignment_keeps_both_sides_in_order(old, new):
    pairs = align(old, new, str, lambda a, b: float(a == b))
    assert [a for a, _ in pairs if a is not None] == old
    assert [b for _, b in pairs if b is not None] == new
    assert all(a == b for a, b in pairs if a is not None and b is not None)
