"""Stack trace text, frames of the repository, and message templates."""

from __future__ import annotations

import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telemetries import BASE, MS, ROOT, server, telemetry

from butfor.correlating import correlate
from butfor.correlating.frames import Sources, decoded, innermost
from butfor.correlating.templates import common, fits, template
from butfor.correlating.tracebacks import MAX_FRAMES, parse
from butfor.evidence.predicates import Frame


def printed(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def chained(explicit: bool) -> BaseException:
    try:
        try:
            {}["price"]
        except KeyError as error:
            if explicit:
                raise RuntimeError("no total\n\nsecond paragraph") from error
            raise RuntimeError("no total")  # noqa: B904
    except RuntimeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("explicit", [True, False])
def test_the_root_cause_of_a_python_chain_is_first(explicit: bool) -> None:
    chain = parse(printed(chained(explicit)))
    assert [raised.type for raised in chain] == ["KeyError", "RuntimeError"]
    assert chain[0].message == "'price'"
    assert chain[0].frames[-1][0] == __file__
    assert chain[0].frames[-1][2] == "chained"
    assert "second paragraph" in chain[1].message or not explicit


def test_members_of_a_group_come_before_the_group() -> None:
    def member() -> None:
        raise ValueError("bad 3")

    try:
        member()
    except ValueError as error:
        chain = parse(printed(ExceptionGroup("several", [error, OSError("disk")])))
    assert [raised.type for raised in chain] == ["ValueError", "OSError", "ExceptionGroup"]
    assert chain[0].message == "bad 3"
    assert chain[0].frames[-1][2] == "member"


def test_a_recursion_is_bounded_with_both_ends_kept() -> None:
    def deeper(n: int) -> int:
        return deeper(n + 1) if n < 10**6 else n

    try:
        deeper(0)
    except RecursionError as error:
        stack = traceback.extract_tb(error.__traceback__)
    lines = "".join(f'  File "{f.filename}", line {f.lineno}, in {f.name}\n' for f in stack)
    raised = parse(f"Traceback (most recent call last):\n{lines}RecursionError: deep\n")[0]
    assert len(raised.frames) == MAX_FRAMES
    assert raised.frames[0][2] == "test_a_recursion_is_bounded_with_both_ends_kept"


def test_a_syntax_error_has_its_place_without_a_function() -> None:
    try:
        compile("a b", "/srv/x.py", "exec")
    except SyntaxError as error:
        raised = parse(printed(error))[0]
    assert (raised.type, raised.frames[-1]) == ("SyntaxError", ("/srv/x.py", 1, "<module>"))


def test_java_prints_the_cause_last_and_innermost_frames_first() -> None:
    text = """com.shop.CheckoutException: cannot charge
\tat com.shop.Checkout.pay(Checkout.java:41)
\tat jdk.internal.reflect/java.lang.reflect.Method.invoke(Method.java:580)
Caused by: java.net.SocketTimeoutException: Read timed out
\tat java.base/java.net.Socket.read(Socket.java:99)
\tat com.shop.Client.charge(Client.java:12)
\t... 2 more
"""
    chain = parse(text)
    assert [raised.type for raised in chain] == ["java.net.SocketTimeoutException", "com.shop.CheckoutException"]
    assert chain[0].frames[-1] == ("java/net/Socket.java", 99, "java.net.Socket.read")
    assert chain[0].frames[0] == ("com/shop/Client.java", 12, "com.shop.Client.charge")


def test_node_and_go_are_read_too() -> None:
    node = parse(
        "TypeError: Cannot read properties of undefined (reading 'id')\n"
        "    at total (/app/src/cart.js:12:9)\n    at async /app/src/server.js:40:3\n"
        "    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)\n"
    )[0]
    assert (node.type, node.frames[-1]) == ("TypeError", ("/app/src/cart.js", 12, "total"))
    assert node.frames[1] == ("/app/src/server.js", 40, "<anonymous>")
    go = parse(
        "panic: runtime error: index out of range [3] with length 3\n\ngoroutine 7 [running]:\n"
        "panic({0x1, 0x2})\n\t/usr/local/go/src/runtime/panic.go:770 +0x132\n"
        "main.total(...)\n\t/app/cart.go:22\nmain.main()\n\t/app/main.go:9 +0x1d\n\ngoroutine 8 [running]:\n"
        "main.other()\n\t/app/other.go:1 +0x1\n"
    )[0]
    assert (go.type, [frame[0] for frame in go.frames]) == ("panic", ["/app/main.go", "/app/cart.go"])


@given(st.text(max_size=300))
def test_any_text_is_parsed_without_a_crash(text: str) -> None:
    for raised in parse(f"Traceback (most recent call last):\n{text}") + parse(text):
        assert raised.type


def test_files_are_named_from_the_repositorys_root() -> None:
    sources = Sources(["/srv/shop/worktree", "/srv/shop/worktree/src/", "", "/"])
    cases = {
        "/srv/shop/worktree/app.py": ("app.py", True),
        "/srv/shop/worktree/src/shop/cart.py": ("shop/cart.py", True),
        "/srv/shop/worktree/.venv/lib/python3.11/site-packages/h11/a.py": (
            ".venv/lib/python3.11/site-packages/h11/a.py",
            False,
        ),
        "/srv/shop/data/files_app.py": ("/srv/shop/data/files_app.py", False),
        "/srv/shop/worktree-old/app.py": ("/srv/shop/worktree-old/app.py", False),
        "/usr/lib/python3.11/json/decoder.py": ("/usr/lib/python3.11/json/decoder.py", False),
        "<frozen importlib._bootstrap>": ("<frozen importlib._bootstrap>", False),
    }
    for file, (named, inside) in cases.items():
        assert sources.frame((file, 1, "f")) == Frame(file=named, line=1, function="f", in_repository=inside)


def test_files_installed_from_the_repository_are_the_repositorys() -> None:
    files = [
        "src/shop/__init__.py", "src/shop/cart.py", "src/shop/db/__init__.py", "src/shop/db/rows.py", "single.py",
        "setup.py", "tests/__init__.py", "tests/test_cart.py", "docs/conf.py", "examples/shop/__init__.py",
    ]  # fmt: skip
    sources = Sources(["/srv/shop/worktree"], files)
    cases = {
        "shop/cart.py": "src/shop/cart.py",
        "shop/db/rows.py": "src/shop/db/rows.py",
        "single.py": "single.py",
        "shop/gone.py": None,
        "tests/test_cart.py": None,
        "setup.py": None,
        "conf.py": None,
        "other/cart.py": None,
    }
    for installed, expected in cases.items():
        path = f"/srv/shop/environment/lib/python3.11/site-packages/{installed}"
        frame = sources.frame((path, 1, "f"))
        assert (frame.file, frame.in_repository) == (expected or path, expected is not None)


def test_without_a_known_root_only_libraries_are_outside() -> None:
    frames = Sources([]).frames([("/app/x.py", 1, "f"), ("/usr/lib/python3.11/site-packages/y.py", 2, "g")])
    assert [frame.in_repository for frame in frames] == [True, False]
    assert innermost(frames) == frames[0]


@pytest.mark.parametrize("text", ["", "{", "7", "[[1]]", '[["", 1]]', '[["a", "b"]]', "[" * 100_000])
def test_malformed_frames_are_left_out(text: str) -> None:
    assert decoded(text) == []


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("'price'", "'price'"),
        ("'tables'", "'tables'"),
        ("order 17 of 3.5 kg not found", "order <*> of <*> kg not found"),
        ("[Errno 20] Not a directory: '/srv/files/app.js/chunk.js'", "[Errno <*>] Not a directory: '<*>'"),
        ("<Cart object at 0x7f3a2b1c>", "<Cart object at <*>>"),
        ("no user 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "no user <*>"),
        ("GET http://127.0.0.1:4711/pay?x=1 failed", "GET <*> failed"),
        ("'NoneType' object has no attribute 'total'", "'NoneType' object has no attribute 'total'"),
        ("f() missing 1 required positional argument: 'x'", "f() missing <*> required positional argument: 'x'"),
        ("invalid literal for int() with base 10: 'a b c'", "invalid literal for int() with base <*>: '<*>'"),
        ("cannot parse 'user48213'", "cannot parse '<*>'"),
        ("mail to ann@example.org bounced", "mail to <*> bounced"),
        ("'<' not supported between instances of 'NoneType' and 'str'",) * 2,
        ("1 error in  X\n  field 9", "<*> error in  X"),
        ("it's 5 o'clock", "it's <*> o'clock"),
    ],
)  # fmt: skip
def test_what_varies_is_replaced_and_what_names_the_failure_stays(message: str, expected: str) -> None:
    assert template(message) == expected


@given(st.text(max_size=200) | st.text("a0'\"/<>*. @:x-fb1\\", max_size=40))
def test_a_message_fits_its_own_template(message: str) -> None:
    first = (message.strip().splitlines() or [""])[0]
    assert fits(template(message), first)


@given(st.integers(380, 420), st.sampled_from([" 7", " word", " '/a/b'", " <*>"]))
def test_a_long_message_fits_its_cut_template(length: int, ending: str) -> None:
    message = "x" * length + ending * 9
    assert fits(template(message), message)
    assert len(template(message)) <= 403


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_numbers_never_matter(one: int, other: int) -> None:
    assert template(f"row {one} at /data/{one}.db: '/x/{one}'") == template(
        f"row {other} at /data/{other}.db: '/x/{other}'"
    )


@pytest.mark.parametrize(
    ("templates", "expected"),
    [
        (["'a'"], "'a'"),
        (["'a'", "'b'"], "<*>"),
        (["no column a", "no column b"], "no column <*>"),
        (["no column a", "no column b in c"], "no column <*>"),
    ],
)
def test_templates_of_one_place_agree_but_for_the_words_that_differ(templates: list[str], expected: str) -> None:
    assert common(templates) == expected


@given(st.lists(st.text("ab ", max_size=3), min_size=1, max_size=5), st.lists(st.text("ab ", max_size=3), min_size=5))
def test_a_mark_stands_for_anything(parts: list[str], fillings: list[str]) -> None:
    said = "".join(part + filling for part, filling in zip(parts[:-1], fillings, strict=False)) + parts[-1]
    assert fits("<*>".join(parts), said)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("no <*> here", "no x there"),
        ("a<*>a", "a"),
        ("x", "x y"),
        ("<*>b<*>c", "a c b"),
        ("a" * 9 + "<*>b" * 90, "a" * 400),
    ],
)
def test_other_words_do_not_fit(wanted: str, said: str) -> None:
    assert not fits(wanted, said)


def ran(text: str, at: float = 1) -> dict:
    attributes = [("butfor.frames", text)]
    return {"time_ns": BASE + int(at * MS), "name": "butfor.functions", "attributes": attributes}


def test_functions_that_ran_are_those_of_the_repository_and_of_the_application_on_it_in_their_order():
    frames = [[f"{ROOT}/shop/app.py", 3, "cart"], ["/usr/lib/python3.11/json/__init__.py", 1, "dumps"]]
    frames += [
        ["/srv/site/app.py", 1, "view"],
        [f"{ROOT}/shop/price.py", 9, "Price.of"],
        [f"{ROOT}/shop/app.py", 3, "cart"],
    ]
    found = correlate(telemetry([server("a", 0, 5, events=[ran(json.dumps(frames))])])).requests[0].functions
    assert [(one.file, one.line, one.function) for one in found] == [
        ("shop/app.py", 3, "cart"), ("/srv/site/app.py", 1, "view"), ("shop/price.py", 9, "Price.of"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "{", "[1, [2], [null, 3]]", "[" * 5000, '[["a.py", "x"]]'])
def test_functions_that_make_no_sense_are_none(text):
    assert correlate(telemetry([server("a", 0, 5, events=[ran(text)])])).requests[0].functions == []
