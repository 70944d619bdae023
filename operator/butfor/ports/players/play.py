"""`python -m play PLAN.json OUT`: the player as a program, for `plays`. The trees are copied while it is loaded."""

from __future__ import annotations

TYPE_CHECKING = False  # typing takes longer to load than all of this
if TYPE_CHECKING or __package__:
    from . import copies
else:
    import copies

if __name__ == "__main__":
    copies.begin()
    if TYPE_CHECKING:
        from . import player
    else:
        import player

    player.main()
