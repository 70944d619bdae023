"""OTLP/JSON lines as an SDK and a Collector's file exporter write them: a shop of three services, one of which fails."""

import json
from collections.abc import Iterator
from pathlib import Path

T0 = 1_790_000_000_000_000_000
MS = 1_000_000
STACK = (
    'Traceback (most recent call last):\n  File "/app/payment/handlers.py", line 41, in charge\n'
    '    ledger.reserve(order)\n  File "/app/payment/ledger.py", line 88, in reserve\n    rate = RATES[order]\n'
    "KeyError: 'SEK'\n"
)
RAISED = {"exception.type": "KeyError", "exception.message": "'SEK'", "exception.stacktrace": STACK}


def attributes(values: dict) -> list[dict]:
    return [
        {"key": k, "value": {"intValue": str(v)} if isinstance(v, int) else {"stringValue": v}}
        for k, v in values.items()
    ]


def span(
    trace: int, number: int, parent: int, name: str, kind: int, start: int, end: int, values: dict, **more
) -> dict:
    return {
        "traceId": f"{trace + 1:032x}", "spanId": f"{trace + 1:08x}{number:08x}", "name": name, "kind": kind,
        "parentSpanId": f"{trace + 1:08x}{parent:08x}" if parent else "", "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(end), "attributes": attributes(values), **more,
    }  # fmt: skip


def request(trace: int, *, failing: bool = False, slow: bool = False) -> Iterator[tuple[str, dict]]:
    """The spans of one checkout, each with its service."""
    start, length = T0 + trace * 50 * MS, (900 if slow else 20 + trace % 7) * MS
    error = {"status": {"code": 2}} if failing else {}
    answer = {"http.response.status_code": 500 if failing else 200}
    raised = {"events": [{"timeUnixNano": str(start + 3 * MS), "name": "exception", "attributes": attributes(RAISED)}]}
    here = {"http.request.method": "POST", "url.path": "/checkout", "http.route": "/checkout", **answer}
    yield "frontend", span(trace, 1, 0, "POST /checkout", 2, start, start + length, here, **error)
    there = {"http.request.method": "POST", "url.full": "http://payment/charge", "server.address": "payment", **answer}
    yield "frontend", span(trace, 2, 1, "POST", 3, start + MS, start + length - MS, there, **error)
    charge = {"http.request.method": "POST", "url.path": "/charge", "http.route": "/charge", **answer}
    charge["app.currency"] = "SEK" if failing or slow else ("EUR", "USD")[trace % 2]
    span_of_payment = span(trace, 3, 2, "POST /charge", 2, start + 2 * MS, start + length - 2 * MS, charge, **error)
    yield "payment", span_of_payment | (raised if failing else {})
    for call in range(12 if slow else 0):
        begin = start + (5 + 60 * call) * MS
        query = {"db.system.name": "postgresql", "db.query.text": "SELECT * FROM items WHERE id = $1"}
        yield "payment", span(trace, 10 + call, 3, "SELECT items", 3, begin, begin + 50 * MS, query)


def line(service: str, spans: list[dict]) -> str:
    resource = {"service.name": service, "vcs.ref.head.revision": "4f2c1d9e0b", "k8s.pod.name": f"{service}-6c9"}
    group = {
        "resource": {"attributes": attributes(resource)},
        "scopeSpans": [{"scope": {"name": "sdk"}, "spans": spans}],
    }
    return json.dumps({"resourceSpans": [group]}) + "\n"


def write(folder: Path, healthy: int = 40, failing: int = 6, slow: int = 0) -> Path:
    """A folder of one file, one line per request and service."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for trace in range(healthy + failing + slow):
        by: dict[str, list[dict]] = {}
        fails, drags = healthy <= trace < healthy + failing, trace >= healthy + failing
        for service, one in request(trace, failing=fails, slow=drags):
            by.setdefault(service, []).append(one)
        lines += [line(service, spans) for service, spans in by.items()]
    (folder / "traces.otlp.jsonl").write_text("".join(lines))
    return folder
