"""A command line starts with what it needs, and is interrupted in one line from its first moment."""

import os
import subprocess
import sys

import pytest

from butfor.cli.groups import COMMANDS

HEAVY = ("openai", "pyarrow", "networkx", "chdb", "git", "httpx2", "numpy")
LISTED = f"""
import sys
from butfor.cli.apps import run
code = run(sys.argv[1:])
print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_that_takes_long(arguments):
    done = subprocess.run([sys.executable, "-c", LISTED, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: butfor")
    assert done.stderr == "\n"


def test_ctrl_c_while_it_is_still_starting_is_one_line(tmp_path):
    package = tmp_path / "typer"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "butfor.cli", "--help"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr == "interrupted; nothing half-written was left\n"


def test_what_can_be_left_out_is_what_the_analyses_know():
    from butfor.cli.options import SOURCES
    from butfor.investigating.analyses import ABLATIONS

    assert SOURCES == ABLATIONS
