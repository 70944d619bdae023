"""One capture of a command from its first line to its bundle; what it says goes to `say`, line by line."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import yaml

from butfor.capturing import commands
from butfor.capturing.attaching import Attached
from butfor.capturing.bundles import Privacy, write_bundle
from butfor.capturing.checkouts import Checkout
from butfor.capturing.connections import listening_ports
from butfor.capturing.drafts import draft
from butfor.capturing.facts import Facts, texts
from butfor.capturing.losses import Losses
from butfor.capturing.observing import Observer
from butfor.capturing.redactions import Redactor
from butfor.capturing.requirements import required
from butfor.capturing.sessions import Session, signals
from butfor.capturing.sightings import Seen, Sightings
from butfor.capturing.spools import Spool
from butfor.capturing.watching import Watch
from butfor.errors import UserError
from butfor.evidence.bundles import CapturedService
from butfor.evidence.services import ServiceDescription

DESCRIPTION = "butfor.yaml"
_STEP_S = 0.1


class Receiver(Protocol):
    """Whatever receives OTLP into the spool."""

    grpc_port: int
    http_port: int


@dataclass(frozen=True)
class Wish:
    """What was asked for. Without `argv` the description's `run` is started. Ends: seconds, requests."""

    name: str
    argv: list[str]
    checkout: Checkout
    directory: Path
    description: ServiceDescription | None = None
    privacy: Privacy = "redacted"
    allow: list[str] = field(default_factory=list)
    listen: int | None = None
    target: int | None = None
    seconds: float | None = None
    requests: int | None = None
    pid: int | None = None
    """A process that runs already, instead of a command."""
    kernel: bool = True
    exceptions: bool = False


class Capture:
    """A command that is captured. `scratch` is a private folder that is gone afterwards."""

    def __init__(self, wish: Wish, scratch: Path, receiver: Receiver, say: Callable[[str], None]) -> None:
        self.wish, self._scratch, self._receiver, self._say = wish, scratch, receiver, say
        self.spool = scratch / "spool"
        self.seen = Seen()
        self._notes: list[str] = []
        self._start_ns = time.time_ns()
        self._code: int | None = None
        self._ports: set[int] = set()
        self._stopped_ns = 0
        self._repeated = False
        self._observer = Observer(scratch, wish.name, "" if wish.kernel else "--no-kernel was given")

    def run(self) -> None:
        """Start, follow, and stop at the end that was asked for."""
        wish = self.wish
        self._observer.start(exceptions=wish.exceptions)
        try:
            self._run(wish)
        finally:
            self._recording = self._observer.stop(self._stopped_ns)

    def _run(self, wish: Wish) -> None:
        if wish.pid is not None:
            self._session: Session | Attached = Attached(wish.pid, self._observer)
            self._session.start()
            self._captured()
            return
        argv = wish.argv or ["bash", "-e", "-o", "pipefail", "-c", wish.description.run if wish.description else ""]
        described = wish.description is not None and not wish.argv and "PORT" in wish.description.run
        planned = commands.plan(argv, wish.listen, wish.target, uses_port=described)
        self._environment = {**self._doors(), **self._described(), **self._observer.variables(planned.argv)}
        self._start(planned)
        self._captured()

    def _captured(self) -> None:
        try:
            self._first_lines()
            self._follow()
        finally:
            self._session.stop()

    def _start(self, command: commands.Command) -> None:
        self._session = Session(
            command, self._environment, self.spool, self.wish.name, self.wish.directory, self._observer
        )
        self._session.start()

    def _doors(self) -> dict[str, str]:
        return commands.environment(
            os.environ, self.spool, self.wish.name,
            roots=[self.wish.checkout.root], revision=self.wish.checkout.revision,
            otlp=f"http://127.0.0.1:{self._receiver.http_port}", shims=self._scratch / "shims",
        )  # fmt: skip

    def _described(self) -> dict[str, str]:
        """What a description's scripts find in their environment, after its `prepare`."""
        description = self.wish.description
        if description is None:
            return {}
        data = self._scratch / "data"
        data.mkdir()
        found = {"DATA": str(data), "WORKTREE": str(self.wish.checkout.root), "CASE": str(self._scratch)}
        variables = {**description.environment, **found}
        if description.prepare and not self.wish.argv:
            script = ["bash", "-e", "-o", "pipefail", "-c", description.prepare]
            done = subprocess.run(script, env={**os.environ, **variables}, cwd=self.wish.directory, check=False)
            if done.returncode:
                raise UserError(
                    f"`prepare` of {description.name} ended with {done.returncode}; correct the description"
                )
        return variables

    def _follow(self) -> None:
        sightings, watch = Sightings(self.spool), Watch(self._session.command, self.spool)
        until = None if self.wish.seconds is None else time.monotonic() + self.wish.seconds
        with signals(self._forward) as asked:
            while not asked and not self._over(until):
                time.sleep(_STEP_S)
                before, self.seen = self.seen.requests, sightings.look()
                if not before and self.seen.requests:
                    self._say(f"first request seen: {self.seen.first}")
                self._advised(watch)
                self._told()
                self._repeat()
            if self._code is None:
                self._stopped_ns = time.time_ns()
            self._session.stop(asked[0] if asked else signal.SIGTERM)
        self.seen = sightings.close()
        own = self._session.command.port
        self._ports = watch.ports | self.seen.ports | ({own} if own else set())

    def _repeat(self) -> None:
        """Once the service listens: our own address again, for its banner shows another."""
        command = self._session.command
        if command.front and not self._repeated and command.port in listening_ports(self._session.group):
            self._repeated = True
            self._say(f"ready: send requests to http://127.0.0.1:{command.front}, not to port {command.port}")

    def _forward(self, number: int) -> None:
        self._session.forward(number)  # whichever session runs by then

    def _over(self, until: float | None) -> bool:
        self._code = self._session.ended()
        if self._session.edge_failed():
            self._notes.append("the recording proxy ended early; what came after it is missing")
            return True
        enough = self.wish.requests is not None and self.seen.requests >= self.wish.requests
        return self._code is not None or enough or (until is not None and time.monotonic() > until)

    def _told(self) -> None:
        if line := self._observer.news():
            self._say(line)
            self._notes.append(line)

    def _advised(self, watch: Watch) -> None:
        if self.wish.pid is not None:
            return  # nothing is to be put into it
        advice = watch.advice(self._session.group, self.seen)
        if advice is None:
            return
        self._say(advice.line)
        self._notes.append(advice.line)
        if advice.command is not None:
            self._session.stop()
            self._start(advice.command)
            watch.restarted(advice.command, self.seen)

    def write(self, place: Path) -> None:
        """Write the bundle, with a description, and say what is in it; none of a command that failed at once."""
        wish = self.wish
        if self.failed:
            self._say(f"the command {_ending(self._code)} before any request; correct it and start again (no bundle)")
            return
        if wish.checkout.changed:
            self._notes.append(
                f"the worktree holds changes that are in no commit: what ran is not {wish.checkout.revision}"
            )
        known = CapturedService(
            name=wish.name, command=self._argv, directory=str(wish.directory),
            revision=wish.checkout.revision or None, source_roots=[str(wish.checkout.root)],
        )  # fmt: skip
        write_bundle(
            self.spool, place, services=[known], privacy=wish.privacy, start_ns=self._start_ns, end_ns=time.time_ns(),
            notes=self._notes, redactor=Redactor(allow=wish.allow) if wish.privacy == "redacted" else None,
            extra={DESCRIPTION: self._description(known)}, kernel=self._recording,
        )  # fmt: skip
        self._last_lines(place)

    @property
    def failed(self) -> bool:
        """Whether the command failed by itself before it served a request."""
        return self._code not in {None, 0} and not self.seen.requests

    @property
    def _argv(self) -> list[str]:
        """The command as it was given, or that of the process that was watched."""
        return self.wish.argv if self.wish.pid is None else self._session.command.argv

    def _description(self, known: CapturedService) -> str:
        if self.wish.description is not None:
            return yaml.safe_dump(self.wish.description.model_dump(exclude_defaults=True), sort_keys=False)
        spool = Spool(self.spool, Losses())
        processes = [p for p in spool.facts("process") if p.get("service") == known.name]
        service = Facts([known], processes).services()[0]
        root, directory = self.wish.checkout.root, self.wish.directory
        files = [f for m in spool.facts("modules") if m.get("service") == known.name for f in texts(m.get("files"))]
        path = list(dict.fromkeys(folder for p in processes for folder in texts(p.get("path"))))
        needed = required(files, path, root)
        return draft(service, needed, self._argv, spool.payloads(), root=root, directory=directory, ports=self._ports)

    def _first_lines(self) -> None:
        observer = self._observer
        seen = [] if self.wish.pid is not None else [self._inside()]
        seen.append(f"OTLP on 127.0.0.1:{self._receiver.grpc_port} (gRPC) and :{self._receiver.http_port} (HTTP)")
        missing = [] if observer.watches else [f"kernel events ({observer.reason})"]
        missing += ["what happens inside the process"] if self.wish.pid is not None else []
        missing += ["environment variables", "databases"]
        parts = [", ".join(seen), *([observer.seen()] if observer.watches else [])]
        self._say(f"capturing {self.wish.name}: {'; '.join(parts)}; not captured: {', '.join(missing)}")
        command = self._session.command
        if command.front:
            self._say(f"send requests to http://127.0.0.1:{command.front} (recording proxy before port {command.port})")

    def _inside(self) -> str:
        bodies = "raw values" if self.wish.privacy == "local" else "secrets replaced by fakes"
        messages = f"requests, answers and calls with their bodies ({bodies})"
        return f"{messages}, database statements, exceptions, logs, slow stacks"

    def _last_lines(self, place: Path) -> None:
        seen = self.seen
        self._say(
            f"seen: {seen.requests} requests, {seen.failures} of them failed; "
            f"{seen.server_spans} server spans from inside, {seen.edge.total()} from the proxy"
        )
        if seen.unfinished:
            self._say(f"  {seen.unfinished} more were begun inside and never ended")
        for (kind, source), count in seen.exceptions.most_common(5):
            self._say(f"  {count} x {kind} (source: {source})")
        if not seen.requests:
            self._say("no request was seen: send some while it runs, or write '$PORT' in the command for a proxy")
        self._say(f"bundle: {place}")
        if self.wish.description is None:
            self._say(f"draft service description: {DESCRIPTION} in the bundle; check it before investigating")


def _ending(code: int | None) -> str:
    return f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
