"""Redaction of a capture (design.md, *Privacy*): payloads, OTLP documents, command lines, text.

First everything is shown to the redactor (`learn_*`), then everything is rewritten: what is a secret in one
place is replaced in all. The key is new per redactor and is never written anywhere. What cannot be read is
dropped, with its length kept and the field named, so that its release can be asked for (`--allow-field`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from butfor.capturing.contents import EncodingError, content
from butfor.capturing.rewriting import Rewriter, UnreadableError
from butfor.capturing.sensitivities import name_words, sensitive_name, sensitive_number, words
from butfor.capturing.structures import form_of, guess
from butfor.evidence.requests import Payload

Document = dict[str, Any]
Headers = list[tuple[str, str]]

MAX_REMEMBERED = 64
"""Of rewritten bodies, so that a body that is sent again and again is read once."""

_IDS = words(
    "traceId spanId parentSpanId traceState startTimeUnixNano endTimeUnixNano timeUnixNano observedTimeUnixNano "
    "schemaUrl severityText"
)
_CODE = re.compile(
    r"^(?:code\.|vcs\.|butfor\.|exception\.type$|http\.route$|telemetry\.|process\.(?:executable|runtime)\.)"
)
_HEADER = re.compile(r"^http\.(?:request|response)\.header\.(.+)$")
_TECHNICAL = words(
    "traceparent tracestate b3 content-length content-type content-encoding transfer-encoding date etag if-none-match "
    "if-match last-modified if-modified-since host connection accept accept-encoding accept-language accept-ranges "
    "range server vary cache-control expires age upgrade sec-websocket-key sec-websocket-accept expect"
)
_LINKS = words("referer referrer location origin content-location link")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9-]*)( +)(.+)$", re.DOTALL)
_PARAMETER = re.compile(r'(?<!\w)(\w+)=(?:"([^"]*)"|([^\s,"]+))')
_PARAMETERS_KEPT = frozenset({"realm", "algorithm", "qop", "nc", "uri", "signedheaders"})


class Redactor:
    """Redacts one capture. `allow` are names of fields, `request_body`/`answer_body`, or kinds (`email`, ...)."""

    def __init__(self, key: bytes | None = None, allow: Iterable[str] = ()) -> None:
        self._rewriter = Rewriter(key or os.urandom(32), allow)
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._bodies: dict[tuple[bool, str, str, str, str], tuple[bytes | None, list[str], dict[str, int]]] = {}

    def learn_payload(self, payload: Payload, request: bytes | None, answer: bytes | None) -> None:
        """Remember the secrets of a payload."""
        self._learn()
        self._rewriter.vocabulary.names.update(n.lower() for n, _ in payload.request_headers + payload.answer_headers)
        self._payload(payload, request, answer)

    def learn_document(self, document: Document) -> None:
        """Remember the secrets of an OTLP/JSON document."""
        self._learn()
        self._walk(document)

    def learn_arguments(self, arguments: list[str]) -> None:
        """Remember the secrets of a command line."""
        self._learn()
        self._arguments(arguments)

    def learn_text(self, text: str) -> None:
        """Remember the secrets of a text."""
        self._learn()
        self._rewriter.rewrite(text)

    def payload(
        self, payload: Payload, request: bytes | None, answer: bytes | None
    ) -> tuple[Payload, bytes | None, bytes | None]:
        """The payload and its bodies with fakes; `redacted_fields` names what was replaced or dropped."""
        self._start()
        return self._payload(payload, request, answer)

    def document(self, document: Document) -> Document:
        """An OTLP/JSON document with fakes; ids and times are kept."""
        self._start()
        found: Document = self._walk(document)
        return found

    def arguments(self, arguments: list[str]) -> list[str]:
        """A command line with fakes."""
        self._start()
        return self._arguments(arguments)

    def text(self, text: str, *, in_code: bool = False) -> str:
        """A text with fakes."""
        self._start()
        return self._rewriter.rewrite(text, in_code=in_code)

    def address(self, endpoint: str) -> str:
        """`address:port` with another address, the same one each time; those of the machine itself are kept."""
        self._start()
        host, _, port = endpoint.rpartition(":")
        bare = host.strip("[]")
        try:
            if ipaddress.ip_address(bare).is_loopback or ipaddress.ip_address(bare).is_unspecified:
                return endpoint
        except ValueError:
            return self._rewriter.rewrite(endpoint)
        fake = self._rewriter.replace(bare, "peer")
        return f"[{fake}]:{port}" if host.startswith("[") else f"{fake}:{port}"

    def notes(self) -> list[str]:
        """What was replaced and dropped, by name and count; never a value."""
        replaced = ", ".join(
            f"{label} {n}" for label, n in self._counts.most_common(40) if label not in {"inside", "known"}
        )
        notes = [f"replaced by fakes of the same form: {replaced}"] if replaced else []
        notes += [f"dropped, since no rule could read it: {what} ({n})" for what, n in self._dropped.most_common(20)]
        return notes + (["--allow-field NAME releases a field"] if notes else [])

    def _learn(self) -> None:
        if not self._rewriter.learning:
            self._bodies.clear()  # what was written before this knew less
        self._rewriter.learning = True

    def _start(self) -> None:
        self._rewriter.learning = False
        self._rewriter.labels = {}

    def _taken(self, place: str) -> list[str]:
        """Labels since the last call, as `place.name`."""
        labels, self._rewriter.labels = self._rewriter.labels, {}
        if not self._rewriter.learning:
            self._counts.update(labels)
        return sorted(f"{place}.{label}" for label in labels)

    def _payload(
        self, payload: Payload, request: bytes | None, answer: bytes | None
    ) -> tuple[Payload, bytes | None, bytes | None]:
        self._rewriter.labels = {}
        target = self._rewriter.rewrite(payload.target, "url")
        fields = self._taken("target")
        asked = self._headers(payload.request_headers)
        fields += self._taken("request_headers")
        answered = self._headers(payload.answer_headers)
        fields += self._taken("answer_headers")
        request, dropped = self._body(request, payload.request_headers, "request_body")
        fields += self._taken("request_body") + dropped
        answer, dropped = self._body(answer, payload.answer_headers, "answer_body")
        fields += self._taken("answer_body") + dropped
        changed = {
            "target": target,
            "request_headers": asked,
            "answer_headers": answered,
            "peer": payload.peer and self._peer(payload.peer),
            "redacted_fields": [*payload.redacted_fields, *fields],
        }
        return payload.model_copy(update=changed), request, answer

    def _peer(self, peer: str) -> str:
        host, colon, port = peer.rpartition(":")
        return f"{self._rewriter.replace(host, 'peer')}{colon}{port}"

    def _headers(self, headers: Headers) -> Headers:
        return [(name, self._header(name, value)) for name, value in headers]

    def _header(self, name: str, value: str) -> str:
        lower = name.lower()
        if lower in {"cookie", "set-cookie"} and not self._rewriter.is_allowed(lower):
            return self._rewriter.rewrite(value, "cookies" if lower == "cookie" else "set-cookie")
        if lower in _TECHNICAL:
            return self._rewriter.rewrite(value, in_code=True)
        if lower in _LINKS:
            return self._rewriter.rewrite(value, "url")
        if lower.endswith("authorization"):
            return self._authorization(value, lower)
        if sensitive_name(name):
            return ", ".join(self._rewriter.replace(part, lower) for part in value.split(", "))
        return self._rewriter.rewrite(value, guess(value))

    def _authorization(self, value: str, name: str) -> str:
        found = _SCHEME.match(value)
        if not found:
            return self._rewriter.replace(value, name)
        scheme, space, rest = found.groups()
        if "=" in rest.rstrip("=") and _PARAMETER.search(rest):
            return scheme + space + _PARAMETER.sub(lambda m: self._parameter(m, name), rest)
        return scheme + space + self._rewriter.replace(rest, name)

    def _parameter(self, match: re.Match[str], name: str) -> str:
        if match.group(1).lower() in _PARAMETERS_KEPT:
            return match.group()
        value = match.group(2) if match.group(2) is not None else match.group(3)
        quote = '"' if match.group(2) is not None else ""
        return f"{match.group(1)}={quote}{self._rewriter.replace(value, name)}{quote}"

    def _body(self, body: bytes | None, headers: Headers, place: str) -> tuple[bytes | None, list[str]]:
        """A body with fakes, or None and the reason: it fails closed."""
        if not body or self._rewriter.is_allowed(place):
            return body, []
        found = {name.lower(): value for name, value in reversed(headers)}
        kind, encoding = found.get("content-type", ""), found.get("content-encoding", "")
        key = (self._rewriter.learning, hashlib.sha256(body).hexdigest(), kind, encoding, place)
        if key not in self._bodies:  # a load repeats its bodies
            while len(self._bodies) >= MAX_REMEMBERED:
                self._bodies.pop(next(iter(self._bodies)))
            written = self._dropping(body, kind, encoding, place)
            kept = None if self._rewriter.learning else written[0]
            self._bodies[key] = (kept, written[1], dict(self._rewriter.labels))
        new, dropped, labels = self._bodies[key]
        self._rewriter.labels = dict(labels)
        return new, dropped

    def _dropping(self, body: bytes, kind: str, encoding: str, place: str) -> tuple[bytes | None, list[str]]:
        try:
            return self._readable(body, kind, encoding), []
        except UnreadableError as error:
            reason = f"it is no readable {error}"
        except EncodingError as error:
            reason = str(error)
        if not self._rewriter.learning:
            self._dropped[f"{place} of type {kind or 'unknown'}"] += 1
        return None, [f"{place}: dropped, {len(body)} bytes, {reason}"]

    def _readable(self, body: bytes, kind: str, encoding: str) -> bytes:
        held = content(body, encoding)
        form = form_of(kind)
        if form in {"", "binary"}:
            if not _printable(held.text):
                raise UnreadableError(kind or "text")
            form = guess(held.text)
        boundary = re.search(r'(?i)boundary="?([^";,]+)', kind)
        text = self._rewriter.rewrite(held.text, form, boundary=boundary.group(1) if boundary else "")
        if not self._rewriter.learning and self._rewriter.vocabulary.leaks(text):
            raise UnreadableError("text without a known secret")
        return body if text == held.text else held.pack(text)

    def _walk(self, value: Any, depth: int = 0) -> Any:
        if depth > 64:
            return None  # no OTLP document is that deep: hostile nesting is cut
        if isinstance(value, list):
            return [self._walk(item, depth + 1) for item in value]
        if isinstance(value, str):
            return self._rewriter.rewrite(value)
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("key"), str) and isinstance(value.get("value"), dict):
            return {**value, "value": self._value(value["key"], value["value"], depth)}
        return {k: v if k in _IDS else self._walk(v, depth + 1) for k, v in value.items()}

    def _value(self, key: str, value: Document, depth: int) -> Document:
        """An OTLP AnyValue under a key."""
        if depth > 64:
            return {}
        written = dict(value)
        if isinstance(value.get("stringValue"), str):
            written["stringValue"] = self._attribute(key, value["stringValue"])
        if "intValue" in value and sensitive_number(key):
            written["intValue"] = self._rewriter.replace(str(value["intValue"]), key)
        if isinstance(value.get("bytesValue"), str):
            written["bytesValue"] = self._rewriter.replace(value["bytesValue"], key)
        items = value.get("arrayValue", {}).get("values") if isinstance(value.get("arrayValue"), dict) else None
        if isinstance(items, list):
            written["arrayValue"] = {"values": self._items(key, items, depth)}
        if isinstance(value.get("kvlistValue"), dict):
            written["kvlistValue"] = self._walk(value["kvlistValue"], depth + 1)
        return written

    def _items(self, key: str, items: list[Any], depth: int) -> list[Any]:
        texts = [i["stringValue"] for i in items if isinstance(i, dict) and isinstance(i.get("stringValue"), str)]
        if key.endswith("command_args") and len(texts) == len(items):
            return [{"stringValue": argument} for argument in self._arguments(texts)]
        return [self._value(key, item, depth + 1) if isinstance(item, dict) else self._walk(item) for item in items]

    def _attribute(self, key: str, text: str) -> str:
        header = _HEADER.match(key)
        if header:
            return self._header(header.group(1).replace("_", "-"), text)
        if key in {"exception.stacktrace", "exception.stack_trace"}:
            return self._stacktrace(text)
        if key in _STATEMENTS and not self._rewriter.learning and not self._rewriter.is_allowed(key):
            text = _SQL_TEXT.sub("'?'", text)  # any value may stand there, and no statement is repeated from it
        if key.startswith(("url.", "http.url", "http.target")):
            return self._rewriter.rewrite(text, "form" if key == "url.query" else "url")
        if _CODE.match(key) or key.endswith("command_line") or not sensitive_name(key):
            form = "text" if len(text) > 2**20 or _CODE.match(key) else guess(text)
            return self._rewriter.rewrite(text, form, in_code=_CODE.match(key) is not None)
        return self._rewriter.replace(text, key.rpartition(".")[2] if self._last_is_sensitive(key) else key)

    def _last_is_sensitive(self, key: str) -> bool:
        return bool(name_words(key)) and sensitive_name(key.rpartition(".")[2])

    def _stacktrace(self, text: str) -> str:
        """Source lines are code; a line that is not indented is a message."""
        lines = [self._rewriter.rewrite(t, in_code=t[:1].isspace()) for t in text.splitlines(keepends=True)]
        return "".join(lines)

    def _arguments(self, arguments: list[str]) -> list[str]:
        written, before = [], ""
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if before and not argument.startswith("-"):
                written.append(self._rewriter.replace(argument, before))
            elif equals and sensitive_name(name):
                written.append(f"{name}={self._rewriter.replace(value, name.lstrip('-'))}")
            else:
                written.append(self._rewriter.rewrite(argument))
            before = (
                argument.lstrip("-") if argument.startswith("-") and not equals and sensitive_name(argument) else ""
            )
        return written


_STATEMENTS = frozenset({"db.query.text", "db.statement"})
_SQL_TEXT = re.compile(r"'(?:[^'\\]|''|\\.)*(?:'|$)", re.DOTALL)


def _printable(text: str) -> bool:
    return text.translate(_BREAKS).isprintable()


_BREAKS = dict.fromkeys(map(ord, "\r\n\t\f"))
