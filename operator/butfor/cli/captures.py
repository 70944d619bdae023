"""`butfor capture`: run a service as its user runs it, and write down what it did as a bundle."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from butfor.errors import UserError

if TYPE_CHECKING:
    from butfor.capturing.runs import Wish
    from butfor.evidence.services import ServiceDescription

OUT = Path("out")


def capture(
    command: Annotated[list[str] | None, typer.Argument(help="starts the service; after --")] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder or FILE.tar.zst; default out/NAME/bundle, or NAME-2 and so on")
    ] = None,
    name: Annotated[str | None, typer.Option(help="service.name; default: the repository's folder")] = None,
    privacy: Annotated[
        str, typer.Option(help="redacted: fakes for secrets; local: raw, files of mode 0600")
    ] = "redacted",
    allow_field: Annotated[list[str] | None, typer.Option(help="a field that is kept as it is; repeatable")] = None,
    listen: Annotated[int | None, typer.Option(help="port of a recording proxy before the service")] = None,
    target: Annotated[int | None, typer.Option(help="the service's own port behind the proxy")] = None,
    for_: Annotated[float | None, typer.Option("--for", help="end after so many seconds")] = None,
    requests: Annotated[int | None, typer.Option(help="end after so many requests")] = None,
    service: Annotated[Path | None, typer.Option(help="service description; its run serves without a command")] = None,
    pid: Annotated[int | None, typer.Option(help="watch a process that runs already, from outside only")] = None,
    kernel: Annotated[bool, typer.Option(help="what the kernel saw of it, where that can be had (root, eBPF)")] = True,
    exceptions: Annotated[bool, typer.Option(help="also every exception of CPython, seen from the kernel")] = False,
    otlp_grpc: Annotated[int, typer.Option(help="port for OTLP over gRPC; 0: a free one")] = 0,
    otlp_http: Annotated[int, typer.Option(help="port for OTLP over HTTP; 0: a free one")] = 0,
) -> int:
    """Run a service, look into it with no change to its code, and write a capture bundle when it ends.

    It ends when the command does, with Ctrl-C, or as --for and --requests say. '$PORT' in the command is a port
    of ours behind a recording proxy.
    """
    from butfor.capturing.attaching import Attached
    from butfor.capturing.bundles import check_free
    from butfor.capturing.checkouts import checkout
    from butfor.capturing.runs import Wish

    description = _described(service) if service else None
    _consistent(pid, kernel=kernel, started=bool(command or description))
    where = Path.cwd() if pid is None else Attached.directory(pid)
    here = checkout(where)
    directory = where if command or description is None else (here.root / description.directory).resolve()
    wish = Wish(
        name=name or (description.name if description else here.name), argv=command or [], checkout=here,
        directory=directory, description=description, privacy=_privacy(privacy), allow=allow_field or [],
        listen=listen, target=target, seconds=for_, requests=requests, pid=pid, kernel=kernel, exceptions=exceptions,
    )  # fmt: skip
    place = out or _default_place(wish.name)
    check_free(place)
    return _captured(wish, place, otlp_grpc, otlp_http)


def _default_place(name: str) -> Path:
    """`out/NAME/bundle`, or the next number that is free; what was due there is removed before."""
    from butfor.capturing.bundles import free_place, remove_expired

    for old in remove_expired(OUT, time.time_ns()):
        typer.echo(f"removed {old}: its raw values were due", err=True)
    wanted = OUT / name / "bundle"
    place = free_place(wanted)
    if place != wanted:
        typer.echo(f"{wanted} holds a bundle already: this one goes to {place}", err=True)
    return place


def _consistent(pid: int | None, *, kernel: bool, started: bool) -> None:
    if pid is None and not started:
        raise UserError("nothing to run; give the command that starts the service: butfor capture -- CMD")
    if pid is not None and started:
        raise UserError("--pid watches a process that runs already; leave the command and --service out")
    if pid is not None and not kernel:
        raise UserError("--pid sees a process through the kernel; leave --no-kernel out")


def _captured(wish: Wish, place: Path, grpc_port: int, http_port: int) -> int:
    """Exit code 1 where the command failed by itself before any request; else 0."""
    from butfor.capturing.runs import Capture
    from butfor.ingesting import receivers

    with tempfile.TemporaryDirectory(prefix="butfor-capture-", ignore_cleanup_errors=True) as scratch:
        (Path(scratch) / "spool").mkdir(mode=0o700)
        receiver = receivers.start(Path(scratch) / "spool", grpc_port, http_port)
        work = Capture(wish, Path(scratch), receiver, lambda line: typer.echo(line, err=True))
        try:
            work.run()
        finally:
            receiver.stop()
        work.write(place)
    return 1 if work.failed else 0


def _privacy(given: str) -> Literal["redacted", "local"]:
    if given not in {"redacted", "local"}:
        raise UserError(f"--privacy {given}: give redacted or local")
    return "local" if given == "local" else "redacted"


def _described(file: Path) -> ServiceDescription:
    from butfor.investigating.descriptions import parse

    try:
        found = parse(file.read_bytes(), str(file))
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; give --service FILE") from error
    if len(found) != 1:
        raise UserError(f"{file} describes {len(found)} services; give a file with one")
    return found[0]
