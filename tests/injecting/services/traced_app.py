"""A WSGI application that another tracer (the OpenTelemetry API with a provider of its own) traces already."""

import sys
from wsgiref.simple_server import make_server

from opentelemetry import trace

TRACE_ID, SPAN_ID = 0xABC, 0xDEF
CONTEXT = trace.SpanContext(TRACE_ID, SPAN_ID, is_remote=False, trace_flags=trace.TraceFlags(1))


class Span(trace.NonRecordingSpan):
    kind = trace.SpanKind.SERVER


class Provider(trace.NoOpTracerProvider):
    def __init__(self):
        self.processors = []

    def add_span_processor(self, processor):
        self.processors.append(processor)


provider = Provider()
trace.set_tracer_provider(provider)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/traced":
        span = Span(CONTEXT)
        for processor in provider.processors:
            processor.on_start(span)
        try:
            raise RuntimeError("while traced")
        finally:
            for processor in provider.processors:
                processor.on_end(span)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
