"""The draft description says how to start the service elsewhere, as far as capture knows."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from butfor.capturing import drafts
from butfor.capturing.requirements import Requirements
from butfor.evidence.bundles import CapturedService
from butfor.evidence.requests import Payload
from butfor.evidence.services import ServiceDescription


def get(target: str, status: int = 200, **more) -> Payload:
    return Payload(trace_id="a", span_id="b", role="server", service="s", method="GET", target=target, status=status,
                   start_ns=1, **more)  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "script"),
    [
        (["/home/u/venv/bin/python3.12", "app.py", "8000"], 'exec python3.12 app.py "$PORT"'),
        (["/home/u/venv/bin/gunicorn", "-b", "127.0.0.1:8000", "app:app"], 'exec gunicorn -b "127.0.0.1:$PORT" app:app'),
        (["uvicorn", "app:app", "--port", "${PORT}"], 'exec uvicorn app:app --port "$PORT"'),
        (["python", "/src/shop/serve.py", "--conf=/src/shop/a b.toml"], 'exec python "$WORKTREE/serve.py"'),
        (["python", "/src/shopping/serve.py"], "exec python /src/shopping/serve.py"),
        (["python", "x.py", "it's 18000"], "exec python x.py 'it'\"'\"'s 18000'"),
    ],
)  # fmt: skip
def test_run_is_portable(argv: list[str], script: str) -> None:
    assert drafts.run(argv, Path("/src/shop"), {8000}).startswith(script)


def test_setup_pins_what_is_needed_without_the_repository_itself(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "My_Shop"\n')
    (tmp_path / "tests").mkdir()
    git = "lib @ git+https://forge.example/lib@" + "a" * 40
    needed = Requirements(
        {"flask": "flask==3.1.0", "pip": "pip==24", "pytest": "pytest==9", "x": "x==1; rm -rf /", "lib": git},
        {"my-shop": tmp_path, "other": Path("/src/other")},
    )
    service, argv = CapturedService(name="shop"), ["my-shop", "8000"]
    text = drafts.draft(service, needed, argv, [get("/")], root=tmp_path, directory=tmp_path, ports={8000})
    read = ServiceDescription.model_validate(yaml.safe_load(text))
    assert read.setup.splitlines() == [
        f"pip install -q --disable-pip-version-check flask==3.1.0 '{git}' pytest==9",
        "pip install -q --disable-pip-version-check --no-deps -e .",
    ]
    assert read.setup_each_revision
    assert read.test
    assert read.ready.path == "/"
    assert text.startswith("# A draft")
    assert "other was installed from /src/other" in text


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    service, nothing = CapturedService(name="s"), Requirements()
    text = drafts.draft(service, nothing, ["./serve"], [], root=tmp_path, directory=tmp_path, ports=set())
    assert "listen on 127.0.0.1:$PORT" in text
    assert "No Python distributions were seen" in text
    assert yaml.safe_load(text) == {"name": "s", "run": "./serve"}


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("pyproject.toml", '[tool.poetry]\nname = "a.b"\n', "a-b"),
        ("setup.cfg", "[metadata]\nname = A_b\n", "a-b"),
        ("setup.py", "setup(\n  name='ab',\n)", "ab"),
        ("pyproject.toml", "not toml [", ""),
        ("setup.cfg", "no section", ""),
    ],
)
def test_own_distribution(tmp_path: Path, file: str, text: str, name: str) -> None:
    (tmp_path / file).write_text(text)
    assert drafts.own_distribution(tmp_path) == name


def test_ready_prefers_a_health_check_that_was_answered() -> None:
    secret = [("Cookie", "x")]
    seen = [get("/a"), get("/a"), get("/health", 503), get("/b?x=1"), get("/c", request_headers=secret)]
    assert drafts.ready(seen) == {"path": "/a"}
    assert drafts.ready([*seen, get("/api/healthz", 204)]) == {"path": "/api/healthz", "expect_status": 204}
    assert drafts.ready([get("/x", complete=False)]) == {}


@pytest.mark.parametrize(("made", "hinted"), [("tests/x.py", True), ("test_shop.py", True), ("shop.py", False)])
def test_tests_that_pytest_would_find_are_hinted_at(tmp_path: Path, made: str, hinted: bool) -> None:
    (tmp_path / made).parent.mkdir(exist_ok=True)
    (tmp_path / made).write_text("")
    service, nothing = CapturedService(name="s"), Requirements()
    text = drafts.draft(service, nothing, ["python", "x.py"], [], root=tmp_path, directory=tmp_path, ports=set())
    assert ("\n# test: python -m pytest -q\n" in text) is hinted
    assert "docs/service.md" in text
