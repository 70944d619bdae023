"""`python -m butfor_agent`: the agent, driven over stdin and stdout (see `serving`)."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

from butfor_agent import attaching, building, serving, slots, trials
from butfor_agent.libbpf import BpfError
from butfor_agent.sessions import Session, Settings


def main() -> int:
    """Exit code 0 once stdin ends; 1, with the reason on stdout, where nothing can be attached."""
    options = _options()
    if options.tried:
        sys.stdout.write(json.dumps(trials.tried()) + "\n")
        return 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever drives the agent ends it by closing its stdin
    with contextlib.suppress(OSError):
        # a process that starts and ends quickly can be asked who it is only while it is there
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    try:
        objects = options.objects or building.objects(options.cache)
        for writer in options.cache.glob("context/*/butfor_context/writer*.so"):
            slots.learn(writer)
        settings = Settings(ring_bytes=options.ring_mb << 20, exceptions=options.exceptions, ways=options.attach)
        session = Session(objects, building.PROBES, settings)
    except (BpfError, building.BuildError, OSError) as error:
        return serving.refuse(str(error))
    try:
        serving.Server(session).serve(sys.stdin, sys.stdout)
    finally:
        session.stop()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="butfor_agent", description=__doc__)
    parser.add_argument(
        "--cache", type=Path, default=Path(os.environ.get("BUTFOR_CACHE") or Path.home() / ".cache/butfor")
    )
    parser.add_argument("--objects", type=Path, help="a folder of built probes, instead of the cache")
    parser.add_argument("--ring-mb", type=int, default=64, choices=[1 << n for n in range(9)], help="size of the ring")
    parser.add_argument(
        "--exceptions", action="store_true", help="also see exceptions of CPython processes, swallowed ones too"
    )
    parser.add_argument(
        "--attach", type=_ways, default=os.environ.get("BUTFOR_ATTACH", ""), metavar="WAY[,WAY]",
        help=f"ways of attaching, in the order to try them; default {','.join(attaching.WAYS)} (or BUTFOR_ATTACH)",
    )  # fmt: skip
    parser.add_argument("--try", dest="tried", action="store_true", help="say which ways of attaching work here")
    return parser.parse_args()


def _ways(said: str) -> tuple[str, ...]:
    try:
        return attaching.ways(said)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
