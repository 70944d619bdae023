"""A wrong answer with a usual status: nothing in the capture tells it, good does; from a folder to a verdict."""

import json
import os
import subprocess

import pytest
import yaml

from butfor.evaluating.evaluations import Settings, evaluate
from butfor.evidence.incidents import Symptom
from butfor.investigating.contrasting import asked
from butfor.investigating.progress import Silent

SERVER = """
import os
from wsgiref.simple_server import make_server
from desk import told

def application(environ, start_response):
    status, text = told(environ["PATH_INFO"], environ.get("HTTP_X_WHO", "nobody"))
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode()]

make_server("127.0.0.1", int(os.environ["PORT"]), application).serve_forever()
"""
DESK = """
VERSION = {version}

def named(who):
    return {named}

def told(path, who):
    if path == "/":
        return "200 OK", "open all day"
    if path == "/who":
        return "200 OK", "you are " + named(who)
    return "404 Not Found", "nothing here"
"""


def history(folder):
    folder.mkdir(parents=True)
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=T", "-c", "user.email=t@example.org"]

    def git(*arguments):
        done = subprocess.run(
            ["git", *who, *arguments], cwd=folder, env=env, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    (folder / "server.py").write_text(SERVER)
    shas = []
    for number in range(5):
        (folder / "desk.py").write_text(DESK.format(version=number, named="'someone'" if number >= 3 else "who"))
        git("add", ".")
        git("commit", "-q", "-m", f"change {number}")
        shas.append(git("rev-parse", "HEAD"))
    return shas


def incident(folder, good, bad, symptom):
    get = {"method": "GET", "headers": {"X-Who": "ann"}, "expect_status": 200}
    written = {
        "id": folder.name,
        "services": [{
            "name": "desk", "repository": {"path": "history"}, "good": good, "bad": bad,
            "run": 'PYTHONPATH="$WORKTREE" exec python3 server.py',
        }],
        "load": {
            "healthy": [{**get, "path": "/"}, {**get, "path": "/none", "expect_status": 404}],
            "failing": [{**get, "path": "/who", "expect_contains": "ann"}],
        },
        "symptom": symptom,
    }  # fmt: skip
    (folder / "incident.yaml").write_text(yaml.safe_dump(written))
    return folder


def test_without_a_symptom_nobody_asked():
    assert not asked(Symptom())
    assert not asked(Symptom(service="desk"))
    assert asked(Symptom(status=200))
    assert asked(Symptom(note="the name is missing"))


@pytest.mark.slow
@pytest.mark.e2e
def test_a_wrong_answer_is_traced_to_its_commit(tmp_path):
    tmp_path.chmod(0o711)
    case = tmp_path / "wrong-name"
    shas = history(case / "history")
    incident(case, shas[0], shas[4], {"status": 200})
    (case / "truth.yaml").write_text(yaml.safe_dump({"outcome": "CodeChange", "culprit": shas[3]}))
    row = evaluate(case, Settings(out=tmp_path / "out"), Silent())
    verdict = json.loads((tmp_path / "out" / "wrong-name" / "verdict.json").read_text())
    assert (row["outcome"], verdict["bisection"]["first_bad"]) == ("CodeChange", shas[3]), verdict["reason"]
    assert row["claim"] == "Proved"
    assert verdict["predicate"]["route"] == "/who"
    assert verdict["predicate"]["answer"] == {"kind": "tokens_lost", "value": '["ann"]'}
