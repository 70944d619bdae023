"""What goes with the failure among attributes: what the service's own telemetry says, not what capture adds to it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "correlating"))
from telemetries import server, span, telemetry

from butfor.correlating import correlate
from butfor.evidence.telemetry import EVIDENCE
from butfor.reporting.contrasts import contrasts

PROCESS = {"service.name": "shop", "process.pid": "42"}


def told(name):
    """Of 6 failing requests, beneath each a span by this name; the 12 healthy ones have none."""
    beneath = {"name": name, "resource": list(PROCESS.items())}
    spans = [server(f"t{n}", n * 1000, n * 1000 + 20, 500 if n < 6 else 200) for n in range(18)]
    spans += [span(f"t{n}", "e", n * 1000 + 5, n * 1000 + 6, "s") | beneath for n in range(6)]
    return {one.attribute for one in contrasts(correlate(telemetry(spans)))}


def test_what_a_call_of_the_service_says_goes_with_the_failure():
    assert "process.pid" in told("charge")


def test_what_capture_tells_of_a_request_does_not():
    assert "process.pid" not in told(EVIDENCE)
