"""A service whose $DATA is small meets a full disk; lifted, it does not."""

import sys

import pytest

from butfor.evidence.plays import Plan, PlannedRequest, PlannedService
from butfor.ports.interpreters import interpreter
from butfor.ports.plays import play
from butfor.ports.sandboxes import detect

pytestmark = pytest.mark.slow

APP = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = 200
        if self.path == "/write":
            try:
                with open(os.path.join(os.environ["DATA"], "large"), "wb") as file: file.write(bytes(3 << 20))
            except OSError as error: status = error.errno + 400
        self.send_response(status); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
ENOSPC = 428


@pytest.mark.parametrize(("lifted", "status"), [(False, ENOSPC), (True, 200)])
def test_what_does_not_fit_is_refused(tmp_path, lifted, status):
    sandbox = detect()
    if sandbox.kind == "none":
        pytest.skip("nothing is isolated here, and so no disk is small")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/app.py").write_text(APP)
    run = f"exec {interpreter(sys.executable).executable} app.py"
    service = PlannedService(
        name="shop", worktree=tmp_path / "source", run=run, limits={"disk_mb": 1}, lift_limits=lifted, inject=False
    )
    asked = [PlannedRequest(id="w", role="failing", service="shop", method="GET", target="/write")]
    seen = play(Plan(services=[service], requests=asked, deadline_s=60), sandbox=sandbox, folder=tmp_path / "play")
    assert seen.started, seen.reason
    assert [answer.status for answer in seen.answers] == [status]
