"""Two services: the failure needs a slow answer of a downstream, which a stub replays as it was captured."""

import pytest

from butfor.capturing.incidents import capture_play
from butfor.correlating import correlate
from butfor.evidence.bundles import CapturedService
from butfor.evidence.incidents import Symptom
from butfor.evidence.plays import Plan, PlannedRequest, StubAnswer
from butfor.evidence.reproductions import PlanParts
from butfor.evidence.runs import Tree
from butfor.evidence.services import Ready, ServiceDescription
from butfor.ingesting import read
from butfor.ingesting.bundles import open_bundle
from butfor.ports.benches import Bench
from butfor.ports.plays import play
from butfor.reproducing import Budget, Workshop, interventions, reproduce
from butfor.reproducing.assembling import replayed

from . import planted

pytestmark = pytest.mark.slow

FRONT = """
import http.client, os, urllib.parse
from wsgiref.simple_server import WSGIServer, make_server
import socketserver
from front import charging

class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

def app(environ, start):
    try:
        status, text = charging.pay(environ["PATH_INFO"])
    except Exception:
        import logging
        logging.exception("request failed")
        status, text = "500 Internal Server Error", "failed"
    start(status, [("Content-Type", "text/plain")])
    return [text.encode()]

make_server("127.0.0.1", int(os.environ["PORT"]), app, server_class=Server).serve_forever()
"""
CHARGING = """
import http.client, os, urllib.parse
LIMIT = {limit}

def charge(name):
    address = urllib.parse.urlsplit(os.environ["TILL_URL"])
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=LIMIT)
    connection.request("GET", "/charge/" + name)
    return connection.getresponse().read().decode()

def pay(path):
    if path == "/":
        return "200 OK", "ready"
    answer = charge(path.split("/")[-1])
    if "charged" not in answer:
        raise RuntimeError("the till says " + answer)
    return "200 OK", "paid: " + answer
"""
TILL = """
import os, socketserver, time
from wsgiref.simple_server import WSGIServer, make_server

class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

def app(environ, start):
    path = environ["PATH_INFO"]
    if path.startswith("/charge/7"):
        time.sleep(0.4)
    if path.startswith("/charge/9"):
        start("503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"closed"]
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"charged " + path.split("/")[-1].encode()]

make_server("127.0.0.1", int(os.environ["PORT"]), app, server_class=Server).serve_forever()
"""


def front_history(folder):
    folder.mkdir()
    planted.git(folder, "init", "-q", "-b", "main")
    (folder / "front").mkdir()
    (folder / "front" / "__init__.py").write_text("")
    (folder / "server.py").write_text(FRONT)
    shas = []
    for limit in ("3.0", "2.0", "0.05", "0.06"):
        (folder / "front" / "charging.py").write_text(CHARGING.format(limit=limit))
        planted.git(folder, "add", ".")
        planted.git(folder, "commit", "-q", "-m", f"limit {limit}")
        shas.append(planted.git(folder, "rev-parse", "HEAD"))
    return shas


def till_history(folder):
    folder.mkdir()
    planted.git(folder, "init", "-q", "-b", "main")
    (folder / "till.py").write_text(TILL)
    planted.git(folder, "add", ".")
    planted.git(folder, "commit", "-q", "-m", "till")
    return planted.git(folder, "rev-parse", "HEAD")


class World:
    """Both services, their histories, and how to capture a load."""

    def __init__(self, base):
        base.chmod(0o711)
        self.base, self.count = base, 0
        self.shas = front_history(base / "front")
        till = till_history(base / "till")
        self.workshop = Workshop(
            Bench.of_this_machine(), {"till": base / "till", "front": base / "front"}, base / "scratch"
        )
        self.till = ServiceDescription(
            name="till", revision=till, run="exec python3 till.py", ready=Ready(path="/charge/ready")
        )
        self.front = ServiceDescription(
            name="front", good=self.shas[0], bad=self.shas[3], run='PYTHONPATH="$WORKTREE" exec python3 server.py'
        )

    @property
    def services(self):
        return [self.till, self.front]

    def capture(self, targets, symptom):
        self.count += 1
        trees = {"till": Tree(revision=self.till.revision), "front": Tree(revision=self.shas[3])}
        planned = [
            self.workshop.planned(one, trees[one.name]).model_copy(update={"edge": True}) for one in self.services
        ]
        requests = [
            PlannedRequest(id=f"q{n}", role="healthy", service="front", method="GET", target=target)
            for n, target in enumerate(targets)
        ]
        # somebody else keeps the till busy, so that the capture lasts until the till has answered
        requests.append(requests[0].model_copy(update={"id": "last", "service": "till", "target": "/charge/700"}))
        folder = self.base / f"play-{self.count}"
        seen = play(Plan(services=planned, requests=requests), sandbox=self.workshop.bench.sandbox, folder=folder)
        assert seen.started, seen.reason
        described = [CapturedService(name=one.name) for one in self.services]
        bundle = capture_play(seen, described, self.base / f"bundle-{self.count}", "local")
        telemetry = read(open_bundle(bundle))
        return correlate(telemetry, symptom), telemetry


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("two"))


def test_a_slow_downstream_is_replayed_and_only_the_impatient_caller_fails(world):
    timelines, telemetry = world.capture(["/", "/pay/101", "/pay/702", "/pay/103"], Symptom(status=500))
    done = reproduce(
        timelines, telemetry, world.services, world.workshop, world.shas[0], world.shas[3], Budget(confirm=2)
    )
    found = done.reproduction
    assert found.reason == "", found.notes
    assert (found.bad_failures, found.good_failures) == (2, 0)
    assert found.parts.stubbed == ["till"]
    failing = next(one for one in found.parts.requests if one.role == "failing")
    (answer,) = found.parts.stubs[failing.id]["till"]
    assert answer.delay_s >= 0.4, "the till's own time, not the 0.05 s after which the caller gave up"
    assert answer.status == 200
    assert [done.runner.run(Tree(revision=sha)).judgement for sha in world.shas] == ["good", "good", "bad", "bad"]


def test_a_downstream_that_fails_at_both_is_no_code_change_and_its_healthy_answer_heals(world):
    timelines, telemetry = world.capture(["/", "/pay/101", "/pay/902", "/pay/103"], Symptom(status=500))
    done = reproduce(
        timelines, telemetry, world.services, world.workshop, world.shas[0], world.shas[3], Budget(confirm_both=2)
    )
    found = done.reproduction
    assert not found.reproduced
    assert found.reason.startswith("good fails too")
    assert (found.bad_runs, found.bad_failures, found.good_runs, found.good_failures) == (2, 2, 2, 2)
    panel = interventions.downstreams(done.runner, timelines, telemetry)
    assert panel is not None
    assert [(one.service, one.key) for one in panel.knobs] == [("till", "GET /charge/<*>")]
    outcome = panel.turned(panel.knobs).run(Tree(revision=world.shas[3]))
    assert outcome.judgement == "good", outcome.reason
    assert panel.turned([]).run(Tree(revision=world.shas[3])).judgement == "bad"


def test_a_run_without_the_healthy_requests_keeps_their_answers_as_spare_ones():
    requests = [
        PlannedRequest(id=name, role=role, service="desk", method="POST", target="/pay")
        for name, role in [("r1", "healthy"), ("r2", "failing"), ("r0", "before")]
    ]
    answers = {name: StubAnswer(span=f"{name}/s", method="POST", target="/charge") for name in ("r0", "r1", "r9")}
    parts = PlanParts(
        service="desk", requests=requests, stubbed=["till"],
        stubs={name: {"till": [one]} for name, one in answers.items()},
    )  # fmt: skip

    def order(sent):
        return [(one.span, one.spare) for one in replayed(parts, sent)["till"]]

    assert order(requests) == [("r0/s", False), ("r1/s", False), ("r9/s", True)]
    assert order(requests[1:]) == [("r0/s", False), ("r1/s", True), ("r9/s", True)]
