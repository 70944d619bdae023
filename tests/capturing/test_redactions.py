"""Redaction keeps form, is consistent inside a capture and different between captures, and fails closed."""

from __future__ import annotations

import base64
import gzip
import json
import re
import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from butfor.capturing.fakes import Faker, is_card, is_iban, luhn_digit
from butfor.capturing.redactions import Redactor
from butfor.capturing.sensitivities import sensitive_name
from butfor.evidence.requests import Payload

SECRETS = st.text(string.ascii_letters + string.digits + "!@#$%^*()-_.:/+ éß", min_size=9, max_size=40).filter(
    lambda s: (
        any(c.isdigit() for c in s)  # no word of the formats around it
        and sum(c.isalnum() and c.isascii() for c in s) >= 8
        and s.strip() == s
        and not re.match(r"(?i)127\.|undefined$", s)
    )
)
CARD = "4111 1111 1111 1111"
XML = b"""<a><password>hunter</password><b api-key='abc1'>x</b></a>"""
IBAN = "DE89370400440532013000"
JWT = ".".join(
    base64.urlsafe_b64encode(part.encode()).decode().rstrip("=")
    for part in ('{"alg":"HS256"}', '{"sub":"ann.lee@example.com","exp":1700000000}', "signature-bytes!")
)


def payload(target: str = "/", headers=(), answer_headers=(), **more) -> Payload:
    return Payload(
        trace_id="a" * 32, span_id="b" * 16, role="server", service="s", method="POST", target=target, start_ns=1,
        request_headers=list(headers), answer_headers=list(answer_headers), **more,
    )  # fmt: skip


def redact(redactor: Redactor, record: Payload, request: bytes | None = None, answer: bytes | None = None):
    redactor.learn_payload(record, request, answer)
    return redactor.payload(record, request, answer)


def classes(text: str) -> str:
    return "".join("d" if c.isdigit() else "u" if c.isupper() else "l" if c.isalpha() else c for c in text)


@given(SECRETS, st.binary(min_size=16, max_size=32))
def test_a_fake_keeps_length_and_alphabet_and_is_another(value: str, key: bytes) -> None:
    fake = Faker(key).fake(value)
    assert fake != value
    assert len(fake) == len(value)
    assert len(fake.encode()) == len(value.encode())
    if not is_card(value.replace(" ", "")):
        assert classes(fake) == classes(value)


@given(st.text(min_size=1, max_size=30), st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_a_fake_depends_on_key_and_value_alone(value: str, one: bytes, two: bytes) -> None:
    assert Faker(one).fake(value) == Faker(one).fake(value)
    if one != two and sum(c.isascii() and c.isalnum() for c in value) >= 12:
        assert Faker(one).fake(value) != Faker(two).fake(value)


@given(st.integers(10**11, 10**17 - 1), st.sampled_from("23456"), st.binary(min_size=16, max_size=16))
def test_a_card_stays_a_card(body: int, network: str, key: bytes) -> None:
    card = f"{network}{body}"
    card += luhn_digit(card)
    fake = Faker(key).fake(card)
    assert is_card(fake)
    assert fake != card
    assert len(fake) == len(card)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (CARD, r"4\d{3} \d{4} \d{4} \d{4}"),
        ("ann.lee@example.com", r"[a-z]{3}\.[a-z]{3}@[a-z]{7}\.com"),
        ("192.168.10.7", r"[12]\d\d\.[12]\d\d\.\d\d\.\d"),
        ("6fa459ea-ee8a-4ca4-894e-db77e160355e", r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}"),
        ("deadbeefcafe0123", r"[0-9a-f]{16}"),
    ],
)
def test_known_forms_stay_valid(value: str, form: str) -> None:
    fake = Faker(b"k" * 16).fake(value)
    assert re.fullmatch(form, fake)
    assert fake != value


def test_iban_and_token_stay_valid() -> None:
    faker = Faker(b"k" * 16)
    assert is_iban(faker.fake(IBAN))
    head, claims, signature = faker.fake(JWT).split(".")
    assert head == JWT.split(".")[0]
    read = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert read["exp"] == 1700000000
    assert read["sub"] == faker.fake("ann.lee@example.com")
    assert len(signature) == len(JWT.split(".")[2])


def places(secret: str) -> tuple[Payload, bytes, bytes]:
    """A trace that shows one secret in every place that the rules know, and in places that they do not."""
    inner = base64.b64encode(f"user:{secret}".encode()).decode()
    record = payload(
        f"/x/{quote(secret, safe='')}?token={quote_plus(secret)}&q=1",
        [("Authorization", f"Basic {inner}"), ("Cookie", f"a=1; sid={quote(secret)}")],
        [("Content-Type", "application/json"), ("X-Echo", quote(secret))],
    )
    request = json.dumps({"password": secret, "n": [1, {"note": f"it is {secret}!"}]}).encode()
    answer = json.dumps({"echo": secret, "inner": inner, "deep": json.dumps({"again": secret})}).encode()
    return record.model_copy(
        update={"request_headers": [*record.request_headers, ("content-type", "application/json")]}
    ), request, answer  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(SECRETS, st.binary(min_size=16, max_size=16))
def test_the_secret_is_nowhere_and_its_fake_everywhere(secret: str, key: bytes) -> None:
    assume(not sensitive_name(secret))
    redactor = Redactor(key)
    record, request, answer = places(secret)
    document = {"resourceSpans": [{"name": f"got {secret}"}]}
    redactor.learn_document(document)
    changed, asked, answered = redact(redactor, record, request, answer)
    assert asked is not None
    assert answered is not None
    fake = json.loads(asked)["password"]
    assert fake != secret
    assert json.loads(answered)["echo"] == fake
    assert json.loads(json.loads(answered)["deep"])["again"] == fake
    assert json.loads(asked)["n"][1]["note"] == f"it is {fake}!"
    assert redactor.document(document)["resourceSpans"][0]["name"] == f"got {fake}"
    everything = changed.model_dump_json() + asked.decode() + answered.decode()
    everything += json.dumps(redactor.document(document)) + "".join(redactor.notes())
    for form in {secret, quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]}:
        assert form not in everything
    basic = changed.request_headers[0][1].split()[1]
    assert base64.b64decode(basic).decode().partition(":")[2] == fake


@given(SECRETS)
def test_two_captures_do_not_share_fakes(secret: str) -> None:
    def fake() -> str:
        body = json.dumps({"password": secret}).encode()
        record = payload(headers=[("content-type", "application/json")])
        return json.loads(redact(Redactor(), record, body)[1] or b"")["password"]

    assert fake() != fake()


LEAVES = st.none() | st.booleans() | st.integers(0, 99) | st.text('abc \n"\\é', max_size=4)
TREES = st.recursive(LEAVES, lambda c: st.lists(c, max_size=3) | st.dictionaries(st.sampled_from("abc"), c, max_size=3))


@given(TREES)
def test_json_without_secrets_keeps_every_byte(value: object) -> None:
    body = json.dumps(value, indent=2).encode()
    _, asked, _ = redact(Redactor(), payload(headers=[("content-type", "application/json")]), body)
    assert asked == body


@pytest.mark.parametrize(
    ("kind", "body", "secret"),
    [
        ("application/json", b'{"pin": 1234, "count": 1234}', b'"pin": 1234'),
        ("application/json", b'{"card": {"number": "4111111111111111"}}', b"4111111111111111"),
        ("application/json", b'{"credentials": {"user": "ann", "pw": "x1"}}', b'"ann"'),
        ("application/x-www-form-urlencoded", b"a=1&password=p%40ss+word&b=2", b"p%40ss+word"),
        ("text/xml", XML, b"hunter"),
        ("text/xml", XML, b"abc1"),
        ("text/html", b'<form><input type="hidden" name="csrf_token" value="abc123"></form>', b"abc123"),
        ("text/html", b'<a href="/reset?token=a%2Bb1">x</a>', b"a%2Bb1"),
        ("text/plain", b"call +49 170 1234567 or mail ann@example.org", b"1234567"),
        ("text/plain", b"call +49 170 1234567 or mail ann@example.org", b"ann@"),
        ("text/plain", b"key is ghp_abcdefghijklmnopqrstuvwxyz0123456789", b"abcdefghij"),
        ("text/plain", b"dsn=postgres://shop:s3cr3t@db/x", b"s3cr3t"),
        ("text/plain", b"Zq8xT1vB3nM7kL2pR9sW4yD6 is it", b"Zq8xT1vB3nM7"),
        ("application/octet-stream", b"mail ann@example.org", b"ann@"),
    ],
)
def test_each_form_is_redacted_in_place(kind: str, body: bytes, secret: bytes) -> None:
    changed, asked, _ = redact(Redactor(), payload(headers=[("Content-Type", kind)]), body)
    assert asked is not None
    assert secret in body
    assert secret not in asked
    assert len(asked) == len(body)
    assert changed.redacted_fields


def test_multipart_text_parts_and_files() -> None:
    body = (
        b'--cut\r\nContent-Disposition: form-data; name="email"\r\n\r\nann@example.com\r\n'
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\x00\x01SECRETBYTES\xff\xfe\r\n--cut--\r\n"
    )
    record = payload(headers=[("Content-Type", "multipart/form-data; boundary=cut")])
    changed, asked, _ = redact(Redactor(), record, body)
    assert asked is not None
    assert len(asked) == len(body)
    assert b"SECRETBYTES" not in asked
    assert b"ann@" not in asked
    assert asked.startswith(b'--cut\r\nContent-Disposition: form-data; name="email"\r\n\r\n')
    assert asked.endswith(b"\r\n--cut--\r\n")
    assert any("file" in f for f in changed.redacted_fields)


@pytest.mark.parametrize(
    ("kind", "encoding", "body"),
    [
        ("application/json", "", b'{"password": "hunt'),
        ("application/xml", "", b"<a><password>x"),
        ("application/xml", "", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'),
        ("multipart/form-data; boundary=x", "", b"--x\r\nno end"),
        ("image/png", "", b"\x89PNG\r\n\x1a\n\x00\x00"),
        ("text/plain", "br", b"\x0b\x02\x80abc\x03"),
        ("text/plain", "gzip", gzip.compress(b"x" * 100, mtime=0)[:-9]),
        ("", "", b"\x00\x01\x02"),
    ],
)
def test_what_cannot_be_read_is_dropped_and_said(kind: str, encoding: str, body: bytes) -> None:
    record = payload(headers=[("Content-Type", kind), ("Content-Encoding", encoding)], request_bytes=len(body))
    redactor = Redactor()
    changed, asked, _ = redact(redactor, record, body)
    assert asked is None
    assert changed.request_bytes == len(body)
    assert any(f"dropped, {len(body)} bytes" in f for f in changed.redacted_fields)
    assert any("dropped" in note for note in redactor.notes())
    assert redact(Redactor(allow=["request_body"]), record, body)[1] == body


def test_gzip_bodies_are_redacted_inside() -> None:
    body = gzip.compress(b'{"password": "hunter22x", "a": 1}', mtime=0)
    headers = [("content-type", "application/json"), ("content-encoding", "gzip")]
    _, _, answered = redact(Redactor(), payload(answer_headers=headers), None, body)
    assert answered is not None
    read = json.loads(gzip.decompress(answered))
    assert read["a"] == 1
    assert read["password"] != "hunter22x"


def test_allowed_fields_keep_their_value_everywhere() -> None:
    record = payload("/u?email=ann%40example.com", [("content-type", "application/json"), ("X-Api-Key", "k3yk3yk3y")])
    body = b'{"email": "ann@example.com", "password": "hunter22x"}'
    changed, asked, _ = redact(Redactor(allow=["Email"]), record, body)
    assert asked is not None
    assert json.loads(asked)["email"] == "ann@example.com"
    assert changed.target == record.target
    assert json.loads(asked)["password"] != "hunter22x"
    assert "k3yk3yk3y" not in str(changed.request_headers)


def test_headers() -> None:
    headers = [
        ("Authorization", 'Digest username="ann", realm="shop", response="6629fae49393a05397450978507c4ef1", nc=1'),
        ("Cookie", "theme=dark; session=abc.def-1"),
        ("X-Forwarded-For", "10.1.2.3, 8.8.4.4"),
        ("traceparent", f"00-{'a1' * 16}-{'b2' * 8}-01"),
        ("Accept", "application/json"),
    ]
    answer = [("Set-Cookie", "session=abc.def-1; Path=/; Max-Age=3600; HttpOnly")]
    changed, _, _ = redact(Redactor(), payload(headers=headers, answer_headers=answer))
    got = dict(changed.request_headers)
    assert 'realm="shop"' in got["Authorization"]
    assert 'username="ann"' not in got["Authorization"]
    assert re.fullmatch(r"theme=[a-z]{4}; session=[a-z]{3}\.[a-z]{3}-\d", got["Cookie"])
    assert got["X-Forwarded-For"] != headers[2][1]
    assert (got["traceparent"], got["Accept"]) == (headers[3][1], headers[4][1])
    session = got["Cookie"].partition("session=")[2]
    assert changed.answer_headers[0][1] == f"session={session}; Path=/; Max-Age=3600; HttpOnly"


def test_command_lines() -> None:
    command = ["python", "app.py", "--password", "hunter22x", "--api-key=k3yk3y", "TOKEN=abcd1", "--port", "8000",
               "postgres://ann:s3cr3tx@db/shop"]  # fmt: skip
    redactor = Redactor()
    redactor.learn_arguments(command)
    written = redactor.arguments(command)
    assert written[:3] == command[:3]
    assert written[6:8] == ["--port", "8000"]
    assert not [s for s in ("hunter22x", "k3yk3y", "abcd1", "s3cr3tx") if s in " ".join(written)]
    assert "hunter22x" not in redactor.text("wrong password hunter22x")


def texts(*values: str) -> dict:
    return {"arrayValue": {"values": [{"stringValue": v} for v in values]}}


def test_texts_in_statements_are_left_out_unless_they_are_allowed() -> None:
    said = "SELECT * FROM users WHERE name = 'Ann O''Neil' AND level > 3 AND note = 'cut"
    statement = {"attributes": [{"key": "db.query.text", "value": {"stringValue": said}}]}
    (left,) = Redactor().document(statement)["attributes"]
    assert left["value"]["stringValue"] == "SELECT * FROM users WHERE name = '?' AND level > 3 AND note = '?'"
    (kept,) = Redactor(allow=["db.query.text"]).document(statement)["attributes"]
    assert kept["value"]["stringValue"] == said


def test_code_places_survive() -> None:
    frames = json.dumps([["/srv/shop/worktree/app/session_tokens.py", 3, "TokenStore.get_token"]])
    trace = (
        "Traceback (most recent call last):\n"
        '  File "/srv/shop/worktree/app/session_tokens.py", line 3, in get_token\n'
        '    token = self.tokens[password_hash or "fallback"]\n'
        "KeyError: 'ann@example.com'\n"
    )
    span = {
        "traceId": "ab" * 16,
        "attributes": [
            {"key": "butfor.exception.frames", "value": {"stringValue": frames}},
            {"key": "exception.stacktrace", "value": {"stringValue": trace}},
            {"key": "code.function.name", "value": {"stringValue": "shop.tokens.get_token"}},
            {"key": "http.request.header.authorization", "value": texts("Bearer abcdefgh1")},
            {"key": "process.command_args", "value": texts("--token=abcdef")},
            {"key": "url.query", "value": {"stringValue": "token=abcdefgh1&x=1"}},
        ],
    }  # fmt: skip
    redactor = Redactor()
    redactor.learn_document(span)
    got = {a["key"]: a["value"] for a in redactor.document(span)["attributes"]}
    assert got["butfor.exception.frames"]["stringValue"] == frames
    assert got["code.function.name"]["stringValue"] == "shop.tokens.get_token"
    assert got["exception.stacktrace"]["stringValue"].splitlines()[:3] == trace.splitlines()[:3]
    assert "ann@" not in got["exception.stacktrace"]["stringValue"]
    fake = got["http.request.header.authorization"]["arrayValue"]["values"][0]["stringValue"]
    assert fake.startswith("Bearer ")
    assert got["url.query"]["stringValue"] == f"token={fake.split()[1]}&x=1"
    assert "abcdef" not in json.dumps(got["process.command_args"])


@pytest.mark.parametrize("name", ["token_type", "author", "tokenizer", "passenger", "monkey", "keyboard", "max_tokens"])
def test_harmless_names(name: str) -> None:
    assert not sensitive_name(name)


@pytest.mark.parametrize(
    "name", ["apiKey", "X-Api-Key", "user[password]", "AccessToken", "card_number", "e-mail", "Cookie"]
)
def test_sensitive_names(name: str) -> None:
    assert sensitive_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "test_streaming_response_stops_if_receiving_http_disconnect_2",
        "/usr/lib/python3/dist-packages/starlette/middleware/errors.py",
        "6fa459ea-ee8a-4ca4-894e-db77e160355e",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        "12;north;3.50\n" * 20,
        "2026-11-24T08:05:34.123456789Z 1763971534123456789",
    ],
)
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert Redactor().text(text) == text


TYPES = (
    "application/json text/xml text/html multipart/form-data;boundary=a application/x-www-form-urlencoded text/plain"
)


@given(st.binary(max_size=300), st.sampled_from(["", *TYPES.split()]))
def test_hostile_bodies_never_raise(body: bytes, kind: str) -> None:
    _, asked, _ = redact(Redactor(), payload(headers=[("content-type", kind)]), body)
    assert asked is None or isinstance(asked, bytes)
