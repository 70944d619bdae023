"""A process that a signal ended: where Python was, told of its request; of none where several could be meant."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butfor.capturing import crashes
from butfor.capturing.bundles import write_bundle
from butfor.capturing.losses import Losses
from butfor.capturing.spools import Spool, attributes_of
from butfor.evidence.bundles import CapturedService
from capturing.test_bundles import document, put

FATAL = """Fatal Python error: Segmentation fault

Current thread 0x{thread:016x} (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/srv/shop/d\\xe9j\\xe0.py", line 7 in read
  File "/lib/butfor_inject/wsgis.py", line 9 in __call__
  File "/srv/shop/app.py", line 21 in answer

Extension modules: _cffi (total: 1)
"""
FRAMES = [["/srv/shop/app.py", 21, "answer"], ["/srv/shop/d\xe9j\xe0.py", 7, "read"],
          ["/usr/lib/python3.11/ctypes/__init__.py", 519, "string_at"]]  # fmt: skip


def unfinished(span_id, *, pid="40", thread="7"):
    made = document(span_id, end=None, thread__id=thread)
    made["resourceSpans"][0]["resource"]["attributes"].append({"key": "process.pid", "value": {"intValue": pid}})
    return made


def told(folder, *opened, text=None, name="crash-40-ab.txt", finished=()):
    put(folder, "open-40-ab.jsonl", *opened)
    put(folder, "spans-40-ab.jsonl", *finished)
    (folder / name).write_text(FATAL.format(thread=7) if text is None else text)
    out = write_bundle(folder, folder.with_name("bundle"), services=[CapturedService(name="shop")],
                       privacy="local", start_ns=1, end_ns=9)  # fmt: skip
    lines = [json.loads(line) for line in (out / "spans.otlp.jsonl").read_text().splitlines()]
    every = [span for line in lines for span in line["resourceSpans"][0]["scopeSpans"][0]["spans"]]
    return {span["parentSpanId"]: json.loads(attributes_of(span["events"][0])["butfor.frames"])
            for span in every if span["name"] == "butfor.evidence"}  # fmt: skip


def test_the_only_request_of_the_process_is_told_where_it_crashed(tmp_path):
    assert told(tmp_path / "spool", unfinished("b" * 16), unfinished("c" * 16, pid="41")) == {"b" * 16: FRAMES}


def test_of_several_the_one_of_that_thread(tmp_path):
    opened = (unfinished("b" * 16, thread="8"), unfinished("c" * 16, thread="7"))
    assert list(told(tmp_path / "spool", *opened)) == ["c" * 16]


@pytest.mark.parametrize("opened", [
    (), (unfinished("b" * 16), unfinished("c" * 16)), (unfinished("b" * 16, pid="41"),),
    (unfinished("b" * 16, thread="8"), unfinished("c" * 16, thread="9")),
])  # fmt: skip
def test_of_none_where_several_or_none_could_be_meant(tmp_path, opened):
    assert told(tmp_path / "spool", *opened) == {}


def test_a_child_is_told_of_the_request_that_forked_it(tmp_path):
    said = json.dumps({"traceId": "a" * 32, "spanId": "d" * 16}) + "\n" + FATAL.format(thread=7)
    opened, ended = unfinished("b" * 16), document("d" * 16)
    assert list(told(tmp_path / "one", opened, finished=[ended], text=said, name="crash-44-cd.txt")) == ["d" * 16]
    assert told(tmp_path / "two" / "spool", opened, text=said, name="crash-44-cd.txt") == {}


@given(
    st.one_of(st.text(max_size=200), st.text(alphabet='Current thread0xF\n(:)ile, line "1 in', max_size=400)),
    st.binary(max_size=60),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_what_is_no_report_or_a_broken_one_tells_nothing_wrong(tmp_path, text, junk):
    folder = tmp_path / "spool"
    folder.mkdir(exist_ok=True)
    data = FATAL.format(thread=7).encode()
    (folder / "crash-1-a.txt").write_bytes(text.encode("utf-8", "replace") + junk)
    (folder / "crash-2-a.txt").write_bytes(data[: len(junk) * 9] + junk)
    for crash in crashes.crashes(Spool(folder, Losses())):
        assert {frame[2] for frame in crash.frames} <= {"string_at", "read", "answer"} or crash.pid == "1"
