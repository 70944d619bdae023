"""The join and what it is made of beside plain loops that say the same, one event after the other."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_events import event, watched
from telemetries import BASE, MS, span, telemetry

from butfor.correlating import correlate, intervals, joins, lookups
from butfor.correlating.intervals import Holders
from butfor.correlating.lookups import Numbers, first_rows
from butfor.correlating.orders import order
from butfor.correlating.records import SLACK_NS

LOST = 999
"""A process that nobody knows: what it does for a trace is the trace's first span's."""


class Oracle:
    """All spans are one process's, which the kernel knows as 100."""

    def __init__(self, spans, events):
        self.spans, self.events = spans, events
        ends = {}
        for one in spans:
            last = max(one["start_ns"], -1 if one["end_ns"] is None else one["end_ns"])
            ends[one["trace_id"]] = max(ends.get(one["trace_id"], 0), last)
        self.end = [ends[one["trace_id"]] if one["end_ns"] is None else one["end_ns"] for one in spans]
        self.told = [self.by_record(one) for one in events]
        self.exact = [
            (one, self.spans[told[0]]) for one, told in zip(events, self.told, strict=True) if told and told[2] == 1
        ]

    def by_record(self, one):
        """Row, source, confidence; None: no span."""
        if not one["trace_id"]:
            return None
        late = {"thread": (1, 0.5), "socket": (0.9, 0.5)}[one["join"]]
        for row, known in enumerate(self.spans):
            if (known["trace_id"], known["span_id"]) == (one["trace_id"], one["span_id"]):
                begin = one["time_ns"] - max(one["duration_ns"], 0)
                open_then = known["end_ns"] is None or begin <= known["end_ns"] + SLACK_NS
                return row, one["join"], late[not (known["start_ns"] - SLACK_NS <= one["time_ns"] and open_then)]
        rows = [row for row, known in enumerate(self.spans) if known["trace_id"] == one["trace_id"]]
        return (rows[0], one["join"], {"thread": 0.9, "socket": 0.5}[one["join"]]) if rows else None

    def open(self, row, time):
        return self.spans[row]["start_ns"] <= time < self.end[row]

    def thread(self, row):
        return dict(self.spans[row]["attributes"])["thread.id"]

    def innermost(self, thread, time):
        rows = [row for row in range(len(self.spans)) if self.thread(row) == thread and self.open(row, time)]
        return max(rows, key=lambda row: (self.spans[row]["start_ns"], self.spans[row]["depth"], row), default=None)

    def roots(self, time, thread=None):
        return [row for row, one in enumerate(self.spans) if one["parent_row"] < 0 and self.open(row, time)
                and thread in (None, self.thread(row))]  # fmt: skip

    def crowd(self, thread, row, time):
        """Requests open on the thread when the span last became the innermost."""
        edges = {one["start_ns"] for one in self.spans} | set(self.end)
        began = time
        for moment in sorted((moment for moment in edges if moment <= time), reverse=True):
            if self.innermost(thread, moment) != row:
                break
            began = moment
        return max(len(self.roots(began, thread)), 1)

    def of(self, number):
        """[(row, source, confidence)] of an event, and whether it is outside of all."""
        one, told = self.events[number], self.told[number]
        time = one["time_ns"]
        if told or one["trace_id"]:
            return ([told], False) if told else ([], self.apart(one["trace_id"]))
        threads = {dict(known["attributes"])["thread.id"] for seen, known in self.exact if seen["tid"] == one["tid"]}
        thread = next(iter(threads)) if len(threads) == 1 else None
        if not any(
            self.thread(row) == thread and self.end[row] > known["start_ns"] for row, known in enumerate(self.spans)
        ):
            thread = None
        if thread and one["miss"] == "null":
            return [], True
        if thread and (row := self.innermost(thread, time)) is not None:
            return [(row, "timeline", 0.9 / self.crowd(thread, row, time))], False
        keeps = any(seen["pid"] == one["pid"] for seen, _ in self.exact)
        if keeps and (one["join"] == "socket" or one["miss"] == "null"):
            return [], True
        if one["pid"] != 100 and not keeps:
            return [], False
        rows = self.roots(time)
        return [(row, "window", 0.8 / len(rows)) for row in rows if len(rows) <= 8], not rows

    def apart(self, trace):
        return any(
            one["trace_id"] == trace
            and not any(known["start_ns"] <= one["time_ns"] <= self.end[row] for row, known in enumerate(self.spans))
            for one in self.events
        )


@st.composite
def drawn_spans(draw):
    spans = []
    for i in range(draw(st.integers(1, 14))):
        start, length = draw(st.integers(0, 120)), draw(st.integers(-5, 90))
        parent = draw(st.sampled_from(["", "", *[f"n{k}" for k in range(i)]]))
        end = None if length == 80 else start + length
        at = {"thread.id": draw(st.sampled_from("12"))}
        spans.append(
            span(draw(st.sampled_from("tuv")), f"n{draw(st.integers(0, 9))}", start, end, parent, attributes=at)
        )
    return spans


@st.composite
def drawn_events(draw):
    named = draw(st.booleans())
    more = {"pid": draw(st.sampled_from([100, 101])), "tid": draw(st.sampled_from([100, 101, 2**40]))}
    if not named:
        more |= draw(st.sampled_from([{"miss": "null"}, {"miss": "fault"}, {"join": "socket", "miss": ""}]))
        return event(draw(st.integers(-30, 250)), **more)
    name = draw(st.integers(0, 11))
    more |= {
        "join": draw(st.sampled_from(["thread", "thread", "socket"])),
        "duration_ns": draw(st.sampled_from([0, 30 * MS])),
    }
    if name > 9:
        more["pid"] = LOST
    return event(draw(st.integers(-30, 250)), trace=draw(st.sampled_from("tuvw")), name=f"n{name}", **more)


def check(spans, events):
    known = order(telemetry(spans).spans).table.to_pylist()
    # a span id of another trace's is, for its own trace, one that was not captured
    ids = {(one["trace_id"], one["span_id"]) for one in known}
    for one in events:
        if one["trace_id"] and (one["trace_id"], one["span_id"]) not in ids:
            one["pid"] = LOST
    found = correlate(watched(telemetry(spans), events))
    oracle = Oracle(known, events)
    rows = {}
    for one in found.joined.to_pylist():
        rows.setdefault(one["event"], []).append((one["span"], one["join_source"], round(one["confidence"], 5)))
    outside = 0
    for number in range(len(events)):
        wanted, away = oracle.of(number)
        outside += away
        said = [(f"{known[row]['trace_id']}/{known[row]['span_id']}", how, round(sure, 5)) for row, how, sure in wanted]
        assert sorted(rows.get(number, [])) == sorted(said), (number, events[number])
    assert found.join.outside == outside


@settings(max_examples=40, deadline=None)
@given(drawn_spans(), st.lists(drawn_events(), min_size=1, max_size=25))
def test_the_join_says_what_a_loop_over_the_events_says(spans, events):
    check(spans, events)


@settings(max_examples=25, deadline=None)
@given(drawn_spans(), st.lists(drawn_events(), min_size=1, max_size=25))
def test_it_does_so_in_small_parts_without_tables_and_where_all_numbers_meet(spans, events):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joins, "PART", 3)
        patch.setattr(Holders, "_STEPS", 0)
        patch.setattr(lookups, "WIDEST", 1)
        patch.setattr(lookups, "_MIXED", np.uint64(0))
        check(spans, events)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9), st.integers(0, 9)), max_size=20),
    st.lists(st.tuples(st.integers(-1, 2), st.integers(-20, 400)), min_size=1, max_size=20),
    st.sampled_from([1, 10**6, 10**15]),
    st.sampled_from([1 << 62, 10**9]),
)
def test_the_interval_that_holds_a_moment_is_found(lengths, asked, far, room):
    group, start, end = [], [], []
    for of in range(3):
        at = of * 5
        for _, length, gap in (one for one in lengths if one[0] == of):
            group, start, end = [*group, of], [*start, at * far], [*end, (at + length) * far]
            at += length + gap
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "_ROOM", room)
        holders = Holders(*(np.array(one, np.int64) for one in (group, start, end)))
        place = holders.places(np.array([g if g in group else -1 for g, _ in asked], np.int64))
        found = holders.find(place, np.array([t * far for _, t in asked], np.int64)).tolist()
    for (of, time), row in zip(asked, found, strict=True):
        held = [i + 1 for i, one in enumerate(group) if one == of and start[i] <= time * far < end[i]]
        assert [row] == (held or [0])


TEXTS = st.lists(st.text("01", min_size=8, max_size=8), max_size=30)


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.one_of(TEXTS, st.lists(st.text("01é", max_size=9), max_size=10)), st.sampled_from([lookups._MIXED, 0]))
def test_the_first_row_of_a_text_is_found(known, wanted, mixed):
    wanted = sorted(set(wanted))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookups, "_MIXED", np.uint64(mixed))
        for first in (0, len(known) // 2):
            texts = pa.array(["", *known], pa.string())[1 + first :]
            found = first_rows(pa.array(wanted, pa.string()), texts).tolist()
            assert found == [known[first:].index(one) if one in known[first:] else -1 for one in wanted]


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9)), st.lists(st.integers(-3, 12) | st.just(2**62)))
def test_numbers_tell_values_apart(values, asked):
    numbers = Numbers(np.array(values, np.int64))
    own = numbers.of(np.array(values, np.int64))
    assert ((own > 0) & (own < numbers.size)).all()
    assert numbers.values(own) == values
    others = numbers.of(np.array(asked, np.int64)).tolist()
    assert [one in values for one in asked] == [number in own.tolist() for number in others]


def test_times_are_nanoseconds():
    assert event(1)["time_ns"] - BASE == MS
