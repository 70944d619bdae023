"""The exact join: what programs say of themselves against what the kernel read at the event."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.once]

COMMON = """
import asyncio, os, random, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
sys.path.append(os.environ['CONTEXT'])
%s
import butfor_context
butfor_context.install(); butfor_context.publish({'service.name': 'truth'}); time.sleep(1.0)
def fail(ids):
    try: os.open('/nowhere/' + ids.hex(), 0)
    except OSError: pass
"""
THREADS = """
def work(_=None):
    ids = os.urandom(24); before = butfor_context.activate(ids)
    for _ in range(20):
        fail(ids); time.sleep(random.random() * 0.001); fail(ids)
        inner = os.urandom(24); outer = butfor_context.activate(inner); fail(inner); butfor_context.activate(outer)
    butfor_context.activate(before)
threads = [threading.Thread(target=work) for _ in range(10)]
[t.start() for t in threads]; [t.join() for t in threads]
with ThreadPoolExecutor(4) as pool: list(pool.map(work, range(20)))
"""
TASKS = """
async def step(ids, depth):
    fail(ids); await asyncio.sleep(random.random() * 0.002); fail(ids)
    inner = os.urandom(24); before = butfor_context.activate(inner)
    await asyncio.sleep(0); fail(inner); await asyncio.to_thread(fail, inner)
    butfor_context.activate(before); fail(ids)
    if depth: await asyncio.gather(step(ids, 0), step(ids, 0))
async def one():
    ids = os.urandom(24); before = butfor_context.activate(ids)
    try: await asyncio.wait_for(step(ids, 1), 10)
    finally: butfor_context.activate(before)
async def every(): await asyncio.gather(*(one() for _ in range(50)))
%s
"""
PROGRAMS = {
    "threads": (COMMON % "") + THREADS,
    "asyncio": (COMMON % "") + TASKS % "asyncio.run(every())",
    "uvloop": (COMMON % "import uvloop") + TASKS % "asyncio.Runner(loop_factory=uvloop.new_event_loop).run(every())",
    "gevent": (COMMON % "import gevent.monkey; gevent.monkey.patch_all(); import gevent")
    + "def green():\n ids = os.urandom(24); before = butfor_context.activate(ids)\n"
    " for _ in range(10): fail(ids); gevent.sleep(random.random() * 0.002); fail(ids)\n"
    " butfor_context.activate(before)\ngevent.joinall([gevent.spawn(green) for _ in range(50)])\n",
}


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_every_event_of_a_span_is_joined_to_that_span(name, watched, context_writer, session):
    if name in ("uvloop", "gevent"):
        pytest.importorskip(name)
    rows, processes, _ = watched(PROGRAMS[name], environment={"CONTEXT": str(context_writer)})
    seen = [
        (row["path"].removeprefix("/nowhere/"), row["trace_id"] + row["span_id"])
        for row in rows
        if row["path"].startswith("/nowhere/")
    ]
    assert len(seen) >= 500
    assert [pair for pair in seen if pair[0] != pair[1]] == []
    assert "thread record" in [one.context for one in processes]
    assert sum(session.losses().values()) == 0


def test_a_process_without_a_writer_is_said_to_publish_nothing(watched):
    rows, processes, _ = watched("try: open('/nowhere/x')\nexcept OSError: pass")
    (row,) = [row for row in rows if row["path"] == "/nowhere/x"]
    assert (row["join"], row["miss"], row["trace_id"]) == ("none", "no_slot", "")
    assert {one.context for one in processes} == {"not published"}


def test_a_child_publishes_itself_and_is_joined(watched, context_writer):
    script = (
        (COMMON % "")
        + """
if (pid := os.fork()) == 0:
    ids = b'c' * 24; butfor_context.activate(ids); fail(ids); os._exit(0)
os.waitpid(pid, 0)
"""
    )
    rows, processes, _ = watched(script, environment={"CONTEXT": str(context_writer)})
    assert len([one for one in processes if one.context == "thread record"]) == 2
    del rows


def test_a_context_that_is_no_longer_active_is_empty_never_old(watched, context_writer):
    script = (COMMON % "") + "b = butfor_context.activate(b'a' * 24); butfor_context.activate(b); fail(b'a' * 24)"
    rows, _, _ = watched(script, environment={"CONTEXT": str(context_writer)})
    (row,) = [row for row in rows if row["path"].startswith("/nowhere/")]
    assert (row["join"], row["miss"]) == ("none", "null")
