"""Incident folders: read whole, or refused in one line."""

import json

import pytest

from butfor.errors import UserError
from butfor.evaluating import incidents, loads
from butfor.evidence.incidents import Incident
from butfor.evidence.requests import Request

GOOD = """
id: x
services:
  - {name: web, good: a, bad: b, run: serve}
  - {name: provider, revision: a, run: serve}
load:
  before: [{method: POST, path: /login, body: {user: 1}, save: {cookies: true}}]
  healthy: [{path: /, expect_contains: hello}]
  failing: [{path: /up, method: POST, body: "@A@!", timeout: 3, service: provider,
             body_fill: {"@A@": {text: ab, times: 3}}}]
"""


def write(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "incident.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b"5\r\nhello\r\n3\r\n me\r\n0\r\n\r\n", b"hello me"),
        (b"0\r\n\r\n", b""),
        (b"hello", b"hello"),
        (b"9\r\nhello\r\n0\r\n\r\n", b"9\r\nhello\r\n0\r\n\r\n"),
    ],
)
def test_a_body_in_chunks_is_chunked_once(body, sent):
    assert loads.unchunked(body) == sent


def test_a_body_of_bytes_is_sent_as_it_is(tmp_path):
    assert loads.body_bytes(Request(path="/", body=b"name=M\xfcller")) == b"name=M\xfcller"


def test_a_load_becomes_requests_with_bodies(tmp_path):
    incident = incidents.read_incident(write(tmp_path / "x", GOOD))
    planned = loads.planned_load(incident, tmp_path)
    assert [(r.id, r.role, r.service, r.timeout_s) for r in planned] == [
        ("before-0", "before", "web", 10.0), ("healthy-0", "healthy", "web", 10.0),
        ("failing-0", "failing", "provider", 3.0)
    ]  # fmt: skip
    assert json.loads(planned[0].body.read_bytes()) == {"user": 1}
    assert planned[1].body is None
    assert planned[2].body.read_bytes() == b"ababab!"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "id: x",
        "id: x\nservices: [{name: web}]",
        "a: b: c",
        b"\xff\xfe",
        "[" * 5000,
        "id: {",
        "!!python/object:os.system x",
    ],
)
def test_what_is_no_incident_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(UserError) as caught:
        incidents.read_incident(write(tmp_path / "x", text))
    assert "\n" not in str(caught.value)
    assert "incident.yaml" in str(caught.value)


def test_cases_are_found_and_a_missing_one_is_named(tmp_path):
    write(tmp_path / "b", GOOD)
    write(tmp_path / "a", GOOD)
    assert [case.name for case in incidents.find_cases(tmp_path)] == ["a", "b"]
    assert [case.name for case in incidents.find_cases(tmp_path / "a")] == ["a"]
    with pytest.raises(UserError, match=r"no incident c in .*there are: a, b"):
        incidents.find_cases(tmp_path, ["c"])
    with pytest.raises(UserError, match="not a folder"):
        incidents.find_cases(tmp_path / "nothing")


def test_a_request_to_nowhere_and_an_endless_body_are_refused(tmp_path):
    base = {"id": "x", "services": [{"name": "web", "run": "serve"}]}
    nowhere = Incident.model_validate({**base, "load": {"healthy": [{"path": "/", "service": "other"}]}})
    with pytest.raises(UserError, match="not in services"):
        loads.planned_load(nowhere, tmp_path)
    fill = {"@": {"text": "x" * 1000, "times": 10**7}}
    endless = Incident.model_validate({**base, "load": {"failing": [{"path": "/", "body": "@", "body_fill": fill}]}})
    with pytest.raises(UserError, match="at most"):
        loads.planned_load(endless, tmp_path)
