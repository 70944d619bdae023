"""A service that traces itself through OpenTelemetry's API: the spans of its context are those that events belong to."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from opentelemetry import context, trace
from work import fail


def span(trace_id, *, remote=False):
    number = int.from_bytes(os.urandom(8), "big") | 1
    return trace.NonRecordingSpan(trace.SpanContext(trace_id, number, remote, trace.TraceFlags(1)))


def here(one):
    ids = one.get_span_context()
    return f"{ids.trace_id:032x}{ids.span_id:016x}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        name = parse_qs(urlsplit(self.path).query).get("id", [""])[0]
        if name:
            self.work(name, int.from_bytes(os.urandom(16), "big") | 1)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"fine")

    def work(self, name, trace_id):
        # the client's span came with the request: what happens here is no part of it
        token = context.attach(trace.set_span_in_context(span(trace_id, remote=True)))
        fail(name, "")
        with trace.use_span(span(trace_id)) as outer:
            fail(name, here(outer))
            with trace.use_span(span(trace_id)) as inner:
                fail(name, here(inner))
            fail(name, here(outer))
        fail(name, "")
        context.detach(token)
        fail(name, "")


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
