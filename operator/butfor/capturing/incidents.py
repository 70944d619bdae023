"""The bundle of a play: what `eval` and `demo` capture, from services that ran in the sandbox."""

from __future__ import annotations

from pathlib import Path

from butfor.capturing.bundles import Privacy, write_bundle
from butfor.capturing.redactions import Redactor
from butfor.errors import InfrastructureError
from butfor.evidence.bundles import CapturedService, Loss
from butfor.evidence.plays import Observation


def capture_play(
    observation: Observation,
    services: list[CapturedService],
    out: Path,
    privacy: Privacy = "local",
    *,
    redactor: Redactor | None = None,
    losses: list[Loss] | None = None,
) -> Path:
    """Write the bundle of an observation at `out`; an InfrastructureError where the play saw nothing at all.

    The time range is that of the requests that were sent. Answers the client did not get are no loss: they are
    what the edges recorded. Requests that could not be sent are. Ready probes are our own requests and left out.
    `losses`: what is known to be missing from the spool.
    """
    if not observation.started:
        raise InfrastructureError(f"nothing was captured: {observation.reason or 'the services did not start'}")
    sent = [a for a in observation.answers if not a.skipped]
    start = min((a.start_ns for a in sent if a.start_ns), default=0)
    end = max((a.start_ns + int(a.seconds * 1e9) for a in sent), default=start)
    skipped = len(observation.answers) - len(sent)
    unsent = [Loss(where="load", count=skipped, reason="requests that were not sent")] if skipped else []
    return write_bundle(
        observation.spool,
        out,
        services=services,
        privacy=privacy,
        start_ns=start,
        end_ns=end,
        losses=[*unsent, *(losses or [])],
        notes=[f"captured from a play; {observation.sandbox}"] if observation.sandbox else ["captured from a play"],
        redactor=redactor,
        left_out=frozenset(observation.probe_traces),
        kernel=observation.kernel_recording,
    )
