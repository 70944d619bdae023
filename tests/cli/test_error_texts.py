"""What an error tells a person to do can be done: every option that it names exists."""

import ast
import re
from pathlib import Path

import typer

import butfor
from butfor.cli.apps import app
from butfor.cli.groups import COMMANDS

ERRORS = {"UserError", "InconclusiveError", "InfrastructureError"}


def options():
    group = typer.main.get_command(app)
    made = [parameter for name in COMMANDS for parameter in group.commands[name].params]
    return {word for one in made for word in (*one.opts, *one.secondary_opts)} | {"--help"}


def named():
    for path in Path(butfor.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS:
                texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                for text in texts:
                    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text) if isinstance(text, str) else []:
                        yield option, f"{path.name}:{node.lineno}"


def test_every_option_that_an_error_names_exists():
    found = list(named())
    assert len(found) > 10
    known = options()
    assert [one for one in found if one[0] not in known] == []
