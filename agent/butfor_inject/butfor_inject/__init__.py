"""Spans, exceptions and payloads of a Python web service, with no change to its code; standard library only."""
