"""Children that multiprocessing spawns from an interpreter that ignores its environment, and would ignore us too."""

from __future__ import annotations

import os
import sys
from typing import Any

from butfor_inject.contexts import copied


def spawn(module: Any) -> None:
    """multiprocessing.spawn: have the child's command run through run.py."""
    if not (sys.flags.ignore_environment or sys.flags.no_site):
        return
    original = module.get_command_line
    runner = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.py")

    def get_command_line(**named: Any) -> list[str]:
        command = list(original(**named))
        if "-c" in command:
            place = command.index("-c")
            command[place:place] = [runner, "--run"]
        return command

    module.get_command_line = copied(get_command_line, original)


HOOKS = [("multiprocessing.spawn", spawn)]
