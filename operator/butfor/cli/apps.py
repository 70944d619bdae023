"""All commands, each imported when it is asked for, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Any

import typer

from butfor.cli.groups import Group
from butfor.errors import InconclusiveError, InfrastructureError, UserError

EXPECTED = (
    (UserError, "error", 2),
    (InconclusiveError, "inconclusive", 3),
    (InfrastructureError, "failed", 1),
)
INTERRUPTED = 130
# typer hands on the exceptions of the click inside it without naming their base
USAGE: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
app = typer.Typer(
    name="butfor",
    cls=Group,
    help="But for this change, the failure would not have happened: name the commit, and prove it.",
    epilog="Start with: butfor demo. For a service of your own: butfor capture -- CMD, then butfor investigate BUNDLE"
    " --repo DIR --good A --bad B",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.callback()(lambda: None)  # what makes it a group: its commands are in groups.COMMANDS


def run(arguments: list[str]) -> int:
    """Run a command line and give its exit code; a person sees one line for every expected error."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(arguments)
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: list[str]) -> int:
    try:
        result: Any = typer.main.get_command(app).main(args=arguments, prog_name="butfor", standalone_mode=False)
    except typer.Exit as leaving:
        result = leaving.exit_code
    except USAGE as error:
        return _misused(error)
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last door: a person gets one line, BUTFOR_DEBUG the traceback
        return _explain(error)
    if result == INTERRUPTED:  # typer makes this code of Ctrl-C, without a word
        return _fail("interrupted; nothing half-written was left", INTERRUPTED)
    return result if isinstance(result, int) else 0


def _misused(error: Exception) -> int:
    """One line; a command without any argument explains itself instead."""
    said = str(getattr(error, "format_message", lambda: error)())
    if said.startswith("Usage:"):
        sys.stdout.write(said.rstrip() + "\n")
        return 2
    return _fail(f"error: {said} (--help says more)", 2)


def _explain(error: Exception) -> int:
    if os.environ.get("BUTFOR_DEBUG"):
        traceback.print_exception(error)
    for kind, word, code in EXPECTED:
        if isinstance(error, kind):
            return _fail(f"{word}: {error}", code)
    return _fail(f"failed: {type(error).__name__}: {error} (a defect of butfor; BUTFOR_DEBUG=1 shows where)", 1)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _fail(line: str, code: int) -> int:
    sys.stderr.write(" ".join(line.split()) + "\n")
    return code
