"""What a join said of each kernel event against what the witness in the process wrote: right, wrong, or not joined.

A witness's row is a change of what a thread works for. It is known to lie between two times; both are taken wider by
what the clocks may differ, and of an event in between either state may be the true one. Nothing else is forgiven.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

SOFTIRQ = {"retransmit", "reset_sent", "reset_received", "tcp_state"}
"""These have no thread: the kernel tells the span that last used the socket."""
TCP_CLOSE = 7
NOTHING = ("", "")


class State(NamedTuple):
    """What a thread works for: a span, the request that is being answered, the statement that a database works on."""

    span: tuple[str, str] = NOTHING
    request: tuple[str, str] = NOTHING
    statement: str = ""


class Changes:
    """The states of something over time, from rows (before, after, state) in their order."""

    def __init__(self, rows, nothing, bound_ns):
        self._before = [before - bound_ns for before, _, _ in rows]
        self._after = [after + bound_ns for _, after, _ in rows]
        self._states = [nothing, *(state for _, _, state in rows)]

    def at(self, time_ns):
        """The state at a time, and before it the others that it may have been."""
        last = bisect_right(self._before, time_ns)
        found = [self._states[last]]
        while last and time_ns <= self._after[last - 1]:
            last -= 1
            found.append(self._states[last])
        return found


class Witness:
    """The rows of all processes. `at` takes Unix nanoseconds."""

    def __init__(self, rows_by_pid, bound_ns):
        clock = [(before, after, wall) for rows in rows_by_pid.values() for kind, _, before, after, *rest in rows
                 if kind == "clock" for wall in rest]  # fmt: skip
        tight = min(after - before for before, after, _ in clock)
        ahead = [wall - (before + after) // 2 for before, after, wall in clock if after - before <= 2 * tight]
        self._ahead = (min(ahead) + max(ahead)) // 2
        self.bound_ns = bound_ns + (max(ahead) - min(ahead)) // 2 + tight
        works, asks, self._sends = defaultdict(list), defaultdict(list), defaultdict(list)
        answers = {(pid, rest[0]): tuple(rest[1:]) for pid, rows in rows_by_pid.items()
                   for kind, _, _, _, *rest in rows if kind == "answers"}  # fmt: skip
        for pid, rows in rows_by_pid.items():
            for kind, tid, before, after, *rest in rows:
                if kind == "works":
                    works[pid, tid].append((before, after, (tuple(rest[:2]), answers.get((pid, rest[2]), NOTHING))))
                elif kind == "asks":
                    asks[pid, tid].append((before, after, rest[0]))
                elif kind == "sends":
                    self._sends[pid, *rest].append((before, tid))
        none = (NOTHING, NOTHING)
        self._works = {key: Changes(rows, none, self.bound_ns) for key, rows in works.items()}
        self._asks = {key: Changes(rows, "", self.bound_ns) for key, rows in asks.items()}
        self._none, self._silent = Changes([], none, 0), Changes([], "", 0)

    def at(self, pid, tid, time_ns):
        """What the thread may have worked for then: the likeliest first."""
        return self._monotonic(pid, tid, time_ns - self._ahead)

    def _monotonic(self, pid, tid, time_ns):
        works = self._works.get((pid, tid), self._none).at(time_ns)
        asks = self._asks.get((pid, tid), self._silent).at(time_ns)
        return [State(span, request, words) for span, request in works for words in asks]

    def sent(self, pid, local, remote, time_ns):
        """What was last sent for on a connection before a time; None where nothing was."""
        sends = self._sends.get((pid, local, remote), [])
        last = bisect_right([before for before, _ in sends], time_ns - self._ahead + self.bound_ns)
        return self._monotonic(pid, sends[last - 1][1], sends[last - 1][0]) if last else None


@dataclass
class Judged:
    """Events by what the witness says of their moment and what the join made of it; `wrong` ones in words."""

    counts: Counter = field(default_factory=Counter)
    wrong: list = field(default_factory=list)
    missed: list = field(default_factory=list)
    sockets: Counter = field(default_factory=Counter)

    def exact_share(self):
        """Of the events that happened while a span was active."""
        inside = sum(n for (where, _), n in self.counts.items() if where == "inside")
        return self.counts["inside", "exact"] / inside if inside else 0.0

    def lines(self):
        """For people to read."""
        told = [f"{number:6} {where}: {what}" for (where, what), number in sorted(self.counts.items())]
        told += [f"{number:6} by socket: {what} at {sure:.0%}" for (what, sure), number in sorted(self.sockets.items())]
        return "\n".join([*told, *self.wrong, *self.missed])


class Judge:
    """Compares. `shift` takes each span for another one, so many places on, to see that this is noticed."""

    def __init__(self, seen, *, shift=0):
        timelines = seen.timelines
        self._witness = Witness(seen.rows, seen.clock_bound_ns)
        self.bound_ns = self._witness.bound_ns
        self._manifest = timelines.telemetry.bundle.manifest
        self._events = timelines.telemetry.kernel.to_pylist()
        self._processes = {one["pid"]: one for one in timelines.telemetry.processes.to_pylist()}
        self._spans = {f"{one['trace_id']}/{one['span_id']}": one for one in timelines.spans.to_pylist()}
        names = list(self._spans)
        moved = dict(zip(names, names[shift:] + names[:shift], strict=True))
        self._locals = {}
        self._joined = defaultdict(list)
        for row in timelines.joined.to_pylist():
            self._joined[row["event"]].append((moved[row["span"]], row["confidence"]))

    def judged(self, *, failures=True):
        """All failure events during the load, or all events that have a thread."""
        found = Judged()
        start, end = self._manifest.start_ns, self._manifest.end_ns
        for number, event in enumerate(self._events):
            if not start <= event["time_ns"] <= end or (failures and not event["failure"]):
                continue
            if event["kind"] in SOFTIRQ:
                self._by_socket(number, event, found)
            else:
                self._by_thread(number, event, found)
        return found

    def _by_thread(self, number, event, found):
        states = self._witness.at(event["inner_pid"], event["inner_tid"], event["time_ns"])
        where = self._where(states[0], event)
        what = self._what(number, states, event)
        found.counts[where, what] += 1
        if what == "wrong":
            found.wrong.append(self._told(number, event, states))
        elif where == "inside" and what != "exact":
            found.missed.append(self._told(number, event, states))

    def _where(self, state, event):
        if state.span != NOTHING or (state.request != NOTHING and not self._traced(event)):
            return "inside"
        return "beside" if state.request != NOTHING else "outside"

    def _what(self, number, states, event):
        joins = self._joined.get(number, [])
        if not joins:
            return "none"
        fitting = [sure for ref, sure in joins if any(self._fits(ref, state, event) for state in states)]
        if not fitting:
            return "wrong"
        return "exact" if fitting[0] == 1 and len(joins) == 1 else f"inferred {fitting[0]:.0%}"

    def _fits(self, ref, state, event):
        """Whether a span is what a state says: a statement within the span, the span, or the request after it."""
        span = self._spans[ref]
        if state.span == NOTHING and state.request != NOTHING and not self._traced(event):
            return (span["trace_id"], span["parent_span_id"]) == state.request
        mine = state.span if state.span != NOTHING else state.request
        if mine == NOTHING:
            return False
        if state.span == NOTHING and span["name"] == "butfor.evidence":
            return (span["trace_id"], span["parent_span_id"]) == mine
        if state.statement:
            same = dict(span["attributes"] or []).get("db.query.text") == state.statement
            return same and (span["trace_id"], span["parent_span_id"]) == mine
        return (span["trace_id"], span["span_id"]) == mine

    def _traced(self, event):
        """Whether the event's process has a tracer of its own."""
        return self._processes[event["pid"]]["service"] != "provider"

    def _by_socket(self, number, event, found):
        pid = self._processes[event["pid"]]["inner_pid"]
        states = self._witness.sent(pid, self._local(event), event["remote"], event["time_ns"])
        joins = self._joined.get(number, [])
        if not joins:
            found.sockets["none", 0] += 1
            return
        if states is None:
            found.sockets["nothing was sent", round(joins[0][1], 2)] += 1
            return
        right = any(self._fits(joins[0][0], state, event) for state in states)
        found.sockets["right" if right else "wrong", round(joins[0][1], 2)] += 1
        if not right:
            found.wrong.append(self._told(number, event, states))

    def _local(self, event):
        """The socket's address, which has no port any more once it is closed."""
        key = event["pid"], event["socket"], event["remote"]
        if event["kind"] == "tcp_state" and event["value"] == TCP_CLOSE:
            return self._locals.pop(key, event["local"])
        self._locals[key] = event["local"]
        return event["local"]

    def _told(self, number, event, states):
        names = ("kind", "call", "errno", "path", "remote", "join", "miss")
        facts = " ".join(str(event[name]) for name in names if event[name])
        joins = [(ref, round(sure, 2), self._spans[ref]["name"]) for ref, sure in self._joined.get(number, [])]
        service = self._processes[event["pid"]]["service"]
        return f"kernel:{number} {service}: {facts}: joined to {joins}, in truth {[tuple(one) for one in states]}"
