"""The model's door against a local endpoint that answers well, badly, hugely, slowly or not at all."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisecting.histories import History
from butfor.patching import from_diff
from butfor.ports import models
from butfor.ports.models import Model, Prompt, read_answer

PROMPT = Prompt("KeyError in handle", "the commit", "after call 3", "app.py: handle", "4 blanks", "write a diff")
DIFF = "--- a/app.py\n+++ b/app.py\n@@ -1,2 +1,2 @@\n def handle():\n-    return 500\n+    return 200\n"


def completion(content):
    message = {"role": "assistant", "content": content}
    return json.dumps(
        {
            "id": "1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        }
    ).encode()  # fmt: skip


@contextmanager
def endpoint(body=b"", *, status=200, drip=0.0, timeout_s=5.0):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for start in range(0, len(body), 1 if drip else 65536):
                try:
                    self.wfile.write(body[start : start + (1 if drip else 65536)])
                except OSError:
                    return
                time.sleep(drip)

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    model = Model(f"http://127.0.0.1:{server.server_port}/v1", "m", "key", timeout_s)
    try:
        yield model, asked
    finally:
        model.close()
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_diff_comes_back_and_applies(tmp_path):
    with endpoint(completion(f"Here it is:\n```diff\n{DIFF}```\nIt heals.\n")) as (model, asked):
        proposal = model.propose(PROMPT, ["app.py"])
    assert proposal.diff == DIFF
    sent = asked[0]["messages"][0]["content"]
    sections = [line[3:] for line in sent.splitlines() if line.startswith("## ")]
    assert sections == ["signature", "slice", "divergence", "candidates", "standards", "task"]
    history = History(tmp_path / "repo")
    bad = history.commit("bad", app_py="def handle():\n    return 500\n")
    tree, reason = from_diff(history.repository(tmp_path / "scratch"), bad, proposal.diff)
    assert reason == ""
    assert tree.overlay == {"app.py": b"def handle():\n    return 200\n"}


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"not json", 200, "model"),
        (b"{}", 200, "not a chat completion"),
        (b'{"choices": []}', 200, "not a chat completion"),
        (completion(None), 200, "no text"),
        (completion("I cannot help"), 200, "0 diffs"),
        (completion(f"```diff\n{DIFF}```\n```diff\n{DIFF}```\n"), 200, "2 diffs"),
        (completion("@@ -1,1 +1,1 @@\n-a\n+b\n"), 200, "not a unified diff"),
        (b'{"error": {"message": "busy"}}', 500, "did not answer"),
        (b"x" * 2_000_000, 200, "larger than"),
    ],
)
def test_a_bad_answer_is_refused_with_a_reason(body, status, word):
    with endpoint(body, status=status) as (model, _):
        proposal = model.propose(PROMPT, ["app.py"])
    assert proposal.diff is None
    assert word in proposal.reason
    assert "\n" not in proposal.reason


def test_an_answer_that_drips_is_cut_off():
    started = time.monotonic()
    with endpoint(completion("x" * 400), drip=0.05, timeout_s=0.4) as (model, _):
        proposal = model.propose(PROMPT, ["app.py"])
    assert proposal.diff is None
    assert "did not answer" in proposal.reason
    assert time.monotonic() - started < 10


def test_nobody_listens():
    model = Model("http://127.0.0.1:9/v1", "m", timeout_s=2)
    assert "did not answer" in model.propose(PROMPT, []).reason
    model.close()


@pytest.mark.parametrize(
    ("diff", "word"),
    [
        (DIFF.replace("app.py", "../app.py"), "not a path inside"),
        (DIFF.replace("app.py", "/etc/passwd"), "not"),
        (DIFF.replace("app.py", ".git/config"), "not one of the files"),
        (DIFF.replace("app.py", "other.py"), "not one of the files"),
        ("--- a/app.py\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a\n", "not taken"),
        ("--- a/app.py\n+++ b/app.py\n@@ -0,0 +1,401 @@\n" + "+x\n" * 401, "401 lines"),
        ("".join(f"--- a/f{i}\n+++ b/f{i}\n@@ -1,1 +1,1 @@\n-a\n+b\n" for i in range(11)), "11 files"),
        (f"--- a/app.py\n+++ b/app.py\n@@ -0,0 +1,1 @@\n+{'x' * 70_000}\n", "larger than"),
    ],
)
def test_a_hostile_diff_is_refused(diff, word):
    proposal = read_answer(f"```\n{diff}```\n", ["app.py"])
    assert proposal.diff is None
    assert word in proposal.reason


@given(st.text(alphabet="ab@-+\n `/\0é", max_size=200))
def test_no_text_breaks_the_reader(text):
    proposal = read_answer(text, ["a"])
    assert (proposal.diff is None) == bool(proposal.reason)


def test_without_configuration_there_is_no_model():
    assert Model.from_environment({}) is None
    assert Model.from_environment({"BUTFOR_MODEL_BASE_URL": "file:///x", "BUTFOR_MODEL": "m"}) is None
    assert Model.from_environment({"BUTFOR_MODEL_BASE_URL": "http://127.0.0.1:1/v1"}) is None
    model = Model.from_environment({"BUTFOR_MODEL_BASE_URL": "http://127.0.0.1:1/v1", "BUTFOR_MODEL": "m"})
    assert model is not None
    model.close()


def test_a_long_section_is_cut_and_says_so():
    text = Prompt("s" * 100_000, "", "", "", "", "").text()
    assert "(cut here)" in text
    assert "(nothing is known)" in text
    assert len(text) < 6 * models.MAXIMUM_SECTION
