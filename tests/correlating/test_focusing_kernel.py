"""A failure that only runs have shown has the kernel's part as well."""

from kernel_events import event, watched
from telemetries import server, telemetry

from butfor.correlating import correlate
from butfor.correlating.focusing import focus
from butfor.evidence.predicates import KernelFailure


def test_what_the_kernel_saw_of_the_requests_in_focus_only():
    spans = [server("t", 0, 100), server("u", 200, 300), server("v", 400, 500)]
    events = [event(20, trace="t", name="s"), event(1), event(450, trace="v", name="s", errno="EPIPE", kind="send")]
    found = correlate(watched(telemetry(spans), events))
    [which] = [i for i, one in enumerate(found.requests) if one.span.startswith(found.requests[0].span[:32])]
    predicate = focus(found, [which], None, ["good answers it otherwise"]).predicate
    assert predicate is not None
    assert predicate.kernel == [KernelFailure(kind="connect", errno="ECONNREFUSED", target_type="")]
