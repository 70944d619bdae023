"""By which way each program of a probe is attached: the first of a stated order that loads and attaches on this kernel.

Programs of one handler are named `handler` or `handler__more`; the section of each says its way. Of the way that is
taken all programs of the handler are loaded, of the others none. docs/kernel.md says what each way hangs on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from butfor_agent.libbpf import BpfError
from butfor_agent.loading import KernelMap, Probe, load

WAYS = ("raw_tp", "tp_btf", "fentry", "kprobe")
"""In the order in which they are tried. All but the last two hang on the same tracepoint."""
_SECTIONS = {"raw_tp": "raw_tp", "tp_btf": "tp_btf", "fentry": "fentry", "fexit": "fentry", "kprobe": "kprobe"}
_FORMLESS = "no kernel function can be traced that tells the same"
_PRESSURE = Path("/proc/pressure/cpu")


def ways(said: str) -> tuple[str, ...]:
    """An order of ways, from their names between commas; raises ValueError for a name that is none."""
    chosen = tuple(filter(None, said.split(",")))
    if unknown := [way for way in chosen if way not in WAYS]:
        raise ValueError(f"{unknown[0]} is no way of attaching; ways are {', '.join(WAYS)}")
    return chosen or WAYS


class Choice:
    """Which programs of one object to load next, given what was refused so far."""

    def __init__(self, order: Sequence[str] = WAYS) -> None:
        self._order = order
        self._sections: Mapping[str, str] = {}
        self.refused: dict[tuple[str, str], str] = {}
        """The reason, by handler and way."""

    def pick(self, sections: Mapping[str, str]) -> set[str]:
        """Which programs to load, of all names with their sections; raises BpfError where a handler has no way left."""
        self._sections = sections
        forms: dict[str, dict[str, list[str]]] = {}
        for name in sections:
            forms.setdefault(_handler(name), {}).setdefault(self._way_of(name), []).append(name)
        return {name for handler, by_way in forms.items() for name in self._first(handler, by_way)}

    def refuse(self, program: str, reason: str) -> None:
        """Another way of the program's handler is next."""
        self.refused[_handler(program), self._way_of(program)] = reason

    def taken(self, programs: Sequence[str]) -> str:
        """In one line: by which ways these programs came, and why not by an earlier one."""
        found = {self._way_of(name) for name in programs}
        why: dict[tuple[str, str], list[str]] = {}
        for (handler, way), reason in sorted(self.refused.items()):
            why.setdefault((way, reason), []).append(handler)
        refused = [f"{', '.join(who)} not by {way}: {reason}" for (way, reason), who in why.items()]
        return "; ".join([", ".join(way for way in WAYS if way in found), *refused])

    def _first(self, handler: str, by_way: Mapping[str, list[str]]) -> list[str]:
        for way in self._order:
            if (handler, way) in self.refused:
                continue
            names = by_way.get(way, [])
            reason = _lacking([self._sections[name] for name in names]) if names else _FORMLESS
            if not reason:
                return names
            self.refused[handler, way] = reason
        tried = "; ".join(f"{way}: {self.refused[handler, way]}" for way in self._order)
        raise BpfError(f"{handler} cannot be attached: {tried}")

    def _way_of(self, program: str) -> str:
        kind = self._sections[program].partition("/")[0]
        return _SECTIONS.get(kind, kind)


def attached(
    path: Path,
    shared: Mapping[str, KernelMap],
    constants: Mapping[str, bytes],
    sizes: Mapping[str, int],
    order: Sequence[str] = WAYS,
) -> tuple[Probe, str]:
    """A probe that is attached, and by which ways, in one line. Raises BpfError, and then nothing of it is."""
    choice = Choice(order)
    while True:
        probe = None
        try:
            probe = load(path, shared, constants, sizes, choice.pick)
            probe.attach()
        except BpfError as error:
            if probe is not None:
                probe.close()
            if not error.program:
                raise
            choice.refuse(error.program, error.reason)
        else:
            return probe, choice.taken(list(probe.programs))


def _handler(program: str) -> str:
    return program.partition("__")[0]


def _lacking(sections: Sequence[str]) -> str:
    """What the functions need that attaching to them would not tell: they are there, and never entered."""
    if not any(section.endswith("/psi_task_switch") for section in sections):
        return ""
    try:
        _PRESSURE.read_bytes()
    except OSError as error:
        return f"the kernel does not account pressure ({_PRESSURE}: {error.strerror})"
    return ""
