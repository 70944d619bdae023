"""A recording is kept to its services and its time, and losses are known to the second; by synthetic tables."""

import threading

import pyarrow as pa
import pytest
from butfor_agent import processes
from butfor_agent.tables import SCHEMA
from butfor_agent.windows import Windows
from hypothesis import given, settings
from hypothesis import strategies as st

from butfor.errors import InfrastructureError
from butfor.ports import recordings
from butfor.ports.kernels import _loss
from butfor.ports.recordings import Recording

TEXT = pa.dictionary(pa.int32(), pa.string())


def batch(rows):
    """Rows of (pid, time, trace id)."""
    given_ = {"pid": [r[0] for r in rows], "time_ns": [r[1] for r in rows], "trace_id": [r[2] for r in rows]}
    columns = []
    for field in SCHEMA:
        blank = "" if field.type == TEXT else False if pa.types.is_boolean(field.type) else 0
        values = given_.get(field.name, [blank] * len(rows))
        plain = pa.array(values, pa.string() if field.type == TEXT else field.type)
        columns.append(plain.dictionary_encode() if field.type == TEXT else plain)
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def store(folder, batches, known):
    with pa.ipc.new_stream(str(folder / "kernel.arrow"), SCHEMA) as writer:
        for one in batches:
            writer.write_batch(batch(one))
    table = processes.table(known)
    with pa.ipc.new_stream(str(folder / "processes.arrow"), table.schema) as writer:
        writer.write_table(table)


def read(folder, name="kernel"):
    return pa.ipc.open_stream((folder / f"{name}.arrow").read_bytes()).read_all().to_pylist()


EVENTS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 9), st.sampled_from(["", "a" * 32, "f" * 32])), max_size=20
)


@settings(max_examples=30, deadline=None)
@given(st.lists(EVENTS, max_size=3), st.sets(st.integers(1, 4)), st.integers(0, 9))
def test_rows_of_services_are_kept_in_order_up_to_the_end(tmp_path_factory, batches, services, until):
    folder = tmp_path_factory.mktemp("recording")
    known = [
        processes.Process(pid, pid, 1, service="shop" if pid in services else "", exit_ns=pid) for pid in range(1, 5)
    ]
    store(folder, batches, known)
    recordings.keep_services(folder, until)
    wanted = [
        e for some in batches for e in some if e[0] in services and e[2] != "f" * 32 and (not until or e[1] <= until)
    ]
    assert [(row["pid"], row["time_ns"], row["trace_id"]) for row in read(folder)] == wanted
    ends = {row["pid"]: row["exit_ns"] for row in read(folder, "processes")}
    assert ends == {pid: pid if not until or pid <= until else None for pid in services}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 400))
def test_a_stream_that_was_cut_is_kept_up_to_there(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("recording")
    store(folder, [[(1, n, "") for n in range(5)]] * 3, [processes.Process(1, 1, 1, service="shop")])
    path = folder / "kernel.arrow"
    data = path.read_bytes()
    path.write_bytes(data[: max(len(data) - cut, 0)])
    try:
        recordings.keep_services(folder)
    except (pa.ArrowException, OSError):
        return  # not even its schema is whole
    assert len(read(folder)) in (0, 5, 10, 15)


def test_without_a_kernel_nothing_is_done_and_nothing_is_wrong(tmp_path):
    recording = Recording(None, tmp_path / "k")
    recording.begin()
    recording.watch(1)
    found = recording.end(services_only=True)
    assert (found.folder, found.reason, found.losses) == (None, "", [])
    assert not (tmp_path / "k").exists()


class Dead:
    """An agent that has ended."""

    probes = {"calls": "attached"}
    alive = False

    def __init__(self):
        self.recording = threading.Lock()

    def open(self, folder):
        self.folder = folder

    def watch(self, pid, service=""):  # noqa: ARG002
        raise InfrastructureError("the agent ended")

    def close(self):
        raise InfrastructureError("the agent ended")


def test_an_agent_that_ended_is_a_reason_never_an_error(tmp_path):
    recording = Recording(Dead(), tmp_path / "k")
    recording.begin()
    recording.watch(1)
    found = recording.end(services_only=True)
    assert (found.folder, "the agent ended" in found.reason, len(found.losses)) == (None, True, 1)


def test_one_recording_at_a_time_and_the_other_says_so(tmp_path):
    kernel = Dead()
    first, second = Recording(kernel, tmp_path / "first"), Recording(kernel, tmp_path / "second")
    first.begin()
    second.begin()
    found = second.end(services_only=True)
    assert (found.folder, found.reason) == (None, "another run was being watched at the same time")
    assert kernel.folder == tmp_path / "first"
    first.end(services_only=True)
    third = Recording(kernel, tmp_path / "third")
    third.begin()
    assert (kernel.folder, third.reason) == (tmp_path / "third", "")


def test_losses_are_known_to_the_second_they_fell_in():
    counts = {"ring_full": 5, "stack": 0}
    windows = Windows(lambda: counts)
    windows.begin(0)
    windows.tick(1)
    counts["ring_full"] = 7
    windows.tick(2)
    counts["ring_full"] = 8
    windows.add("not_stored", 4)
    windows.tick(3)
    windows.tick(4)
    counts["ring_full"] = 9
    windows.tick(5)
    assert windows.listed() == [
        {"reason": "ring_full", "count": 3, "start_ns": 1, "end_ns": 3},
        {"reason": "not_stored", "count": 4, "start_ns": 2, "end_ns": 3},
        {"reason": "ring_full", "count": 1, "start_ns": 4, "end_ns": 5},
    ]


@given(st.lists(st.integers(0, 3), max_size=40))
def test_no_loss_is_forgotten_however_many_windows_there_are(steps):
    total = [0]
    windows = Windows(lambda: {"ring_full": total[0]})
    windows.begin(0)
    for now, step in enumerate(steps, 1):
        total[0] += step
        windows.tick(now)
    assert sum(one["count"] for one in windows.listed()) == sum(steps)


@pytest.mark.parametrize(
    ("reason", "where"), [("ring_full", "kernel events"), ("stack", "kernel stacks"), ("new", "kernel events")]
)
def test_a_loss_says_what_is_missing(reason, where):
    found = _loss({"reason": reason, "count": 2, "start_ns": 1, "end_ns": 3})
    assert (found.where, found.count, found.start_ns, found.end_ns) == (where, 2, 1, 3)


def test_a_run_that_is_interrupted_gives_the_agent_back(tmp_path):
    kernel = Dead()
    with pytest.raises(KeyboardInterrupt), Recording(kernel, tmp_path / "k"):
        raise KeyboardInterrupt
    assert kernel.recording.acquire(blocking=False)
