"""A play starts what the plan says, sends what it says, and brings back what was seen and nothing else."""

import json
import sys
from pathlib import Path

import pytest

from butfor.evidence.plays import Plan, PlannedRequest, PlannedService, StubAnswer
from butfor.evidence.services import Ready
from butfor.ports.interpreters import interpreter
from butfor.ports.plays import play, sweep
from butfor.ports.sandboxes import Limits

PYTHON = str(interpreter(sys.executable).executable)

APP = """
import http.server, json, os, sys, urllib.request, urllib.error

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def say(self, status, text, *headers):
        body = text.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/":
            self.say(200, "welcome")
        elif self.path == "/data":
            self.say(200, open(os.path.join(os.environ["DATA"], "seed")).read())
        elif self.path == "/env":
            self.say(200, json.dumps(dict(os.environ)))
        elif self.path == "/login":
            self.say(200, '{"token": "t-77"}', ("Set-Cookie", "sid=abc; Path=/"))
        elif self.path.startswith("/whoami"):
            self.say(200, self.path + " " + str(self.headers.get("Cookie")))
        elif self.path == "/charge":
            try:
                with urllib.request.urlopen(os.environ["PAY_API_URL"] + "/charge", timeout=1) as answer:
                    self.say(answer.status, answer.read().decode())
            except (urllib.error.URLError, OSError) as error:
                self.say(500, repr(error))
        elif self.path == "/write":
            open("written", "a").write("x")
            self.say(200, open("written").read())
        elif self.path == "/limits":
            import resource
            self.say(200, str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
        elif self.path == "/die":
            os._exit(3)
        elif self.path == "/close":
            self.close_connection = True
        else:
            self.say(404, "no")

    def do_POST(self):
        self.say(200, self.rfile.read(int(self.headers["Content-Length"])).decode())

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def worktree(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


@pytest.fixture
def shop(worktree):
    def make(**changes):
        given = {
            "name": "shop", "worktree": worktree, "run": f"exec {PYTHON} app.py", "inject": False,
            "prepare": 'printf seeded > "$DATA/seed"',
        }  # fmt: skip
        return PlannedService(**(given | changes))

    return make


@pytest.fixture
def run(best, tmp_path):
    def run(*requests, services, **changes):
        changes.setdefault("deadline_s", 30)
        plan = Plan(services=services, requests=list(requests), **changes)
        return play(plan, sandbox=best, folder=tmp_path / "play")

    return run


def get(target, role="healthy", **more):
    return PlannedRequest(id=target, role=role, service="shop", method="GET", target=target, **more)


def text(answer):
    return answer.body.read_text() if answer.body else ""


def test_starts_from_a_fresh_prepare_each_time(run, shop):
    for _ in range(2):
        seen = run(get("/data"), get("/write"), services=[shop()])
        assert seen.started, seen.reason
        assert [text(a) for a in seen.answers] == ["seeded", "x"]


def test_the_worktree_on_the_host_is_not_touched(run, shop, worktree):
    run(get("/write"), services=[shop()])
    assert [p.name for p in worktree.iterdir()] == ["app.py"]


def test_gives_the_variables_of_the_contract(run, shop, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_USER", "x")
    case = tmp_path / "case"
    case.mkdir()
    stubs = {"pay-api": [StubAnswer(span="t/s", method="GET", target="/", status=200)]}
    seen = run(get("/env"), services=[shop(environment={"MODE": "test"})], stubs=stubs, case=case)
    env = json.loads(text(seen.answers[0]))
    assert env["WORKTREE"] == "/srv/shop/worktree"
    assert env["MODE"] == "test"
    assert env["PAY_API_URL"].startswith("http://127.0.0.1:")
    assert env["PYTHONDONTWRITEBYTECODE"] == "1"
    assert {"PORT", "DATA", "CASE"} <= set(env)
    assert "SHOP_URL" not in env
    assert "SECRET_OF_THE_USER" not in env


def test_answers_are_the_same_in_each_play_ports_included(run, shop):
    one, other = (text(run(get("/env"), services=[shop()]).answers[0]) for _ in range(2))
    assert one == other


def test_carries_saved_values_and_cookies(run, shop, tmp_path):
    body = tmp_path / "body"
    body.write_text("token={{TOKEN}}")
    body.chmod(0o600)
    post = PlannedRequest(id="p", role="failing", service="shop", method="POST", target="/x", body=body)
    login = get("/login", role="before", save={"cookies": True, "TOKEN": '"token": "([^"]+)"'})
    seen = run(login, get("/whoami?t={{TOKEN}}"), post, services=[shop()])
    assert [text(a) for a in seen.answers[1:]] == ["/whoami?t=t-77 sid=abc", "token=t-77"]


def test_a_value_that_no_answer_gave_leaves_the_request_out(run, shop):
    first = get("/", role="before", save={"TOKEN": "nothing like this (x)"})
    seen = run(first, get("/whoami?t={{TOKEN}}"), services=[shop()])
    assert seen.answers[1].skipped == "no answer gave a value for TOKEN"
    assert not seen.answers[1].complete


def test_sends_in_order_or_mixed_as_often_as_the_plan_says(run, shop):
    requests = [get("/", repeat=2), get("/data")]
    seen = run(*requests, services=[shop()], repeat=2)
    assert [(a.id, a.iteration) for a in seen.answers] == [
        ("/", 0), ("/", 1), ("/data", 0), ("/", 2), ("/", 3), ("/data", 1)
    ]  # fmt: skip
    mixed = run(*requests, services=[shop()], repeat=4, concurrency=4, seed=1)
    assert sorted((a.id, a.iteration) for a in mixed.answers) == sorted(
        [("/", i) for i in range(8)] + [("/data", i) for i in range(4)]
    )
    assert {a.status for a in mixed.answers} == {200}


def test_every_request_has_a_trace_of_its_own(run, shop):
    seen = run(get("/", repeat=5), services=[shop()])
    assert len({a.trace_id for a in seen.answers} | set(seen.probe_traces)) == 5 + len(seen.probe_traces)


def test_a_service_that_dies_is_seen_by_its_clients_and_in_the_reason(run, shop):
    seen = run(get("/close"), get("/die"), get("/"), services=[shop()])
    assert [a.ended for a in seen.answers[:2]] == ["closed", "closed"]
    assert seen.answers[2].ended in ("refused", "closed")  # closed: the kernel was still taking its socket down
    assert "shop ended (exit 3)" in seen.reason
    assert seen.started


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"run": "echo broken pieces; exit 4"}, "ended (exit 4) before it was ready: broken pieces"),
        ({"prepare": "echo no seed; exit 5"}, "prepare of shop failed (exit 5): no seed"),
        ({"ready": Ready(path="/nowhere")}, "/nowhere answers 404, not 200"),
        ({"run": "sleep 30"}, "it does not listen"),
        ({"directory": "not/there"}, "shop cannot be started"),
    ],
)
def test_a_service_that_does_not_start_says_how_and_is_not_our_failure(run, shop, change, reason):
    seen = run(get("/"), services=[shop(**change)], start_timeout_s=0.7)
    assert not seen.started
    assert not seen.infrastructure
    assert reason in seen.reason
    assert "\n" not in seen.reason


def test_stubs_replay_a_downstream(run, shop, tmp_path):
    body = tmp_path / "charged"
    body.write_text("charged 7")
    answers = [
        StubAnswer(span="t/1", method="GET", target="/charge", status=202, body=body),
        StubAnswer(span="t/2", method="GET", target="/charge", ended="reset"),
        StubAnswer(span="t/3", method="GET", target="/charge", ended="timeout"),
    ]
    seen = run(get("/charge", repeat=3), services=[shop()], stubs={"pay-api": answers})
    assert (seen.answers[0].status, text(seen.answers[0])) == (202, "charged 7")
    assert "reset" in text(seen.answers[1])
    assert "timed out" in text(seen.answers[2]).lower()


def test_a_downstream_that_refuses_has_nobody_listening(run, shop):
    refused = [StubAnswer(span="t/1", method="GET", target="/charge", ended="refused")]
    seen = run(get("/charge"), services=[shop()], stubs={"pay-api": refused})
    assert "refused" in text(seen.answers[0])


def test_services_reach_each_other(run, shop):
    other = shop(name="pay-api", prepare="", run=f"exec {PYTHON} app.py")
    seen = run(get("/charge"), services=[other, shop()])
    assert seen.started, seen.reason
    # pay-api has no PAY_API_URL of its own, so the call that reaches it ends without an answer
    assert (seen.answers[0].status, "Remote end closed" in text(seen.answers[0])) == (500, True)


def test_services_of_one_worktree_see_it_at_a_place_each(run, shop):
    twin = shop(name="twin", prepare="")
    seen = run(services=[twin, shop(prepare="ls /srv/.play/sources/shop /srv/.play/sources/twin")])
    assert seen.started, seen.reason
    assert seen.logs["shop"].read_text().count("app.py") == 2


def test_limits_of_a_service_hold_and_can_be_lifted(run, shop):
    ours = {"limits": {"open_files": 64}}
    assert text(run(get("/limits"), services=[shop(**ours)]).answers[0]) == "64"
    script = f"ulimit -n 50; exec {PYTHON} app.py"
    assert text(run(get("/limits"), services=[shop(run=script)]).answers[0]) == "50"
    lifted = run(get("/limits"), services=[shop(run=script, lift_limits=True, **ours)])
    assert int(text(lifted.answers[0])) > 64


def test_the_deadline_of_the_plan_ends_it_with_what_was_seen(run, shop):
    seen = run(get("/", repeat=3), get("/charge", repeat=50), services=[shop()], deadline_s=2, stubs={
        "pay-api": [StubAnswer(span="t/1", method="GET", target="/charge", ended="timeout")],
    })  # fmt: skip
    assert seen.seconds < 5
    assert seen.answers[0].status == 200
    assert seen.answers[-1].skipped == "the play's deadline was reached"


WSGI = """
import os
from wsgiref.simple_server import make_server

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

make_server("127.0.0.1", int(os.environ["PORT"]), app).serve_forever()
"""


def test_edges_and_injection_leave_spans_and_the_files_that_ran(run, shop, worktree):
    (worktree / "app.py").write_text(WSGI)
    seen = run(get("/data"), services=[shop(edge=True, inject=True, run="exec python3 app.py")])
    assert seen.started, seen.reason
    names = {p.name.split("-")[0] for p in seen.spool.iterdir()}
    assert {"spans", "process", "modules"} <= names
    spans = "".join(p.read_text() for p in seen.spool.glob("spans-*"))
    assert seen.answers[0].trace_id in spans
    assert "<worktree>/app.py" in seen.loaded_files["shop"]


LATE = """
import os, time
from wsgiref.simple_server import make_server

class Answer(list):
    def close(self):
        time.sleep(0.6)  # the client has its answer; the service is not done with the request

def app(environ, start_response):
    start_response("500 Oh", [("Content-Length", "2")])
    return Answer([b"no"]) if environ["PATH_INFO"] == "/late" else [b"no"]

make_server("127.0.0.1", int(os.environ["PORT"]), app).serve_forever()
"""


def test_a_service_that_answers_first_and_ends_later_is_waited_for(run, shop, worktree):
    (worktree / "app.py").write_text(LATE)
    service = shop(inject=True, run="exec python3 app.py", ready=Ready(path="/", expect_status=500))
    seen = run(get("/late"), services=[service])
    assert (seen.started, seen.answers[0].status) == (True, 500)
    assert seen.answers[0].seconds < 0.6
    assert seen.answers[0].trace_id in "".join(p.read_text() for p in seen.spool.glob("spans-*"))


HOSTILE = """
    out=/srv/.play/out; set +e
    ln -s /etc/passwd $out/spool/spans-1-aa.jsonl
    ln -s / $out/spool/all
    mkfifo $out/bodies/fifo
    ln -s /etc/shadow $out/logs/evil.log
    rm -rf $out/bodies && ln -s /etc $out/bodies
"""


FORGERY = """
    set +e; exec 2>/dev/null
    out=/srv/.play/out
    for file in $out/observation.json $out/observation.json.tmp $out/bodies/x $out/logs/x; do
        echo '{"answers": [], "logs": {}}' > $file && echo wrote $file
    done
    for folder in /proc/[0-9]*; do
        [ "$(stat -c %u $folder)" = "$(id -u)" ] && continue
        kill -STOP ${folder#/proc/} && echo stopped $folder
        head -c 1 $folder/environ && echo read $folder
    done
    setpriv --reuid=$(stat -c %u $out) true && echo became the driver
    grep CapEff /proc/self/status
"""


def test_a_service_cannot_touch_the_record_or_the_program_that_writes_it(best, run, shop):
    if not best.separates:
        pytest.skip(best.shortcomings()[0])
    seen = run(get("/data"), services=[shop(prepare=FORGERY + 'printf x > "$DATA/seed"')])
    assert seen.started, seen.reason
    assert text(seen.answers[0]) == "x"
    assert seen.logs["shop"].read_text().partition("127.0.0.1")[0] == "CapEff:\t0000000000000000\n"


def test_a_service_may_open_its_own_output_by_name(run, shop):
    seen = run(services=[shop(run=f"echo said > /dev/stdout; exec {PYTHON} app.py")])
    assert "said" in seen.logs["shop"].read_text()


def test_what_hostile_code_leaves_is_made_safe_to_read(run, shop):
    seen = run(services=[shop(prepare=HOSTILE + 'printf x > "$DATA/seed"')])
    left = list((seen.folder / "out").rglob("*"))
    assert left
    assert all(p.is_dir() or p.is_file() for p in left)
    assert not any(p.is_symlink() for p in left)


@pytest.mark.parametrize(
    "forged",
    [
        '{"answers": [{"id": "a", "role": "healthy", "body": "../../../etc/passwd"}], "logs": {}}',
        '{"answers": [{"id": "a", "role": "healthy", "body": "bodies/' + "a" * 64 + '"}], "logs": {}}',
        '{"started": true}', "[1, 2]", "not json", '{"answers": [], "logs": {"../../x": ""}, "started": 3}',
    ],
)  # fmt: skip
def test_a_forged_record_is_refused(best, tmp_path, forged):
    from butfor.ports.plays import _read
    from butfor.ports.watches import Exit

    out = tmp_path / "out"
    out.mkdir()
    (out / "observation.json").write_text(forged)
    seen = _read(out, Exit(0, 1.0), best, tmp_path)
    assert seen.infrastructure
    assert not seen.started
    assert "\n" not in seen.reason


def test_a_play_that_is_cut_off_says_by_which_limit(best, shop, tmp_path):
    plan = Plan(services=[shop(prepare="sleep 30")], deadline_s=30)
    seen = play(plan, sandbox=best, folder=tmp_path / "play", limits=Limits(seconds=0.5))
    assert (seen.started, seen.infrastructure) == (False, False)
    assert "deadline" in seen.reason


def test_sweeping_removes_links_and_fixes_modes(tmp_path):
    import os

    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "file").write_text("x")
    (tmp_path / "locked" / "file").chmod(0o4000)
    (tmp_path / "link").symlink_to("/")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "locked").chmod(0o000)
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "locked"]
    assert Path(tmp_path / "locked" / "file").stat().st_mode & 0o7777 == 0o644
