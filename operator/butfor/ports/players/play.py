"""`python play.py PLAN OUT`: the player as a program, for `plays`; PLAN is marshalled, for the same interpreter.

It waits for a line or the end of its standard input: then the trees are complete. They are copied while the player
is loaded; `json` is not, which takes longer than all else before a start.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING or __package__:
    from . import copies
else:
    import copies

if __name__ == "__main__":
    os.read(0, 1)
    copies.begin()
    import marshal
    import sys

    if TYPE_CHECKING:
        from . import player
    else:
        import player

    with open(sys.argv[1], "rb") as file:
        planned = marshal.load(file)
    player.finish(planned, sys.argv[2])
