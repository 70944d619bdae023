"""The table of commands: what each is for, and where it is; its module is imported when the command is asked for."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

COMMANDS = {
    "capture": ("captures:capture", "Run a service and write down what it did as a capture bundle."),
    "investigate": ("investigations:investigate", "Name the commit that made it fail, and prove it by runs."),
    "prove": ("proofs:prove", "Replay every claim of a verdict, on any machine."),
    "eval": ("evaluations:evaluate", "Capture, investigate and score a folder of incidents."),
    "demo": ("demonstrations:demo", "Break a small shop, capture it live and find the commit to blame."),
    "doctor": ("doctors:doctor", "Say what works on this machine, and what to do about the rest."),
}
"""By name: `module:function` in this package, and one line for `butfor --help`."""
SETTINGS = {"capture": {"allow_interspersed_args": False}}
"""What follows the first word of a captured command is that command's own."""


class Commands(MutableMapping[str, Any]):
    """The commands as the parser wants them; each is made when it is looked up."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _loaded(name)
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Group(TyperGroup):
    """`butfor` itself: its help imports none of its commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = Commands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the parser's own signature
        """The table, without a look at the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _loaded(name: str) -> Any:
    module, function = COMMANDS[name][0].split(":")
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    called = getattr(import_module(f"butfor.cli.{module}"), function)
    alone.command(name, context_settings=SETTINGS.get(name))(called)
    return typer.main.get_command(alone)
