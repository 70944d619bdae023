"""The kernel's files of a bundle: read as they are, cut, damaged, hostile or absent."""

import json

import pyarrow as pa
import pytest
from butfor_agent.tables import SCHEMA as AGENT_SCHEMA
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butfor.evidence.kernels import KERNEL, PROCESSES, STACKS
from butfor.ingesting import kernels, open_bundle, read
from butfor.ingesting.losses import Losses


def events(count, **columns):
    rows = [{**dict.fromkeys(KERNEL.names), "kind": "open", "time_ns": i, "pid": 7, "tid": 8} for i in range(count)]
    return pa.Table.from_pylist([{**row, **columns} for row in rows], KERNEL)


def write(folder, table, name="kernel.arrow", rows=10):
    with pa.ipc.new_stream(str(folder / name), table.schema) as stream:
        for batch in table.to_batches(max_chunksize=rows):
            stream.write_batch(batch)
    return folder / name


def read_from(folder):
    losses = Losses()
    return kernels.read_kernel(folder, losses), losses.listed()


def test_the_agent_writes_what_is_read():
    assert AGENT_SCHEMA.names == KERNEL.names
    assert [field.type for field in AGENT_SCHEMA] == [field.type for field in KERNEL]


def test_a_bundle_without_the_kernel_has_empty_tables(tmp_path):
    (kernel, processes, stacks), losses = read_from(tmp_path)
    assert (kernel.schema, processes.schema, stacks.schema) == (KERNEL, PROCESSES, STACKS)
    assert (kernel.num_rows, losses) == (0, [])


def test_stacks_of_before_functions_had_names_are_read(tmp_path):
    old = pa.schema([
        ("pid", pa.int64()), ("stack", pa.int32()),
        ("frames", pa.list_(pa.struct([("module", pa.string()), ("offset", pa.uint64()), ("address", pa.uint64())]))),
    ])  # fmt: skip
    frames = [{"module": "/srv/codec.so", "offset": 9, "address": 4096}]
    write(tmp_path, pa.Table.from_pylist([{"pid": 7, "stack": 1, "frames": frames}], old), "stacks.arrow")
    (_, _, stacks), losses = read_from(tmp_path)
    assert losses == []
    assert stacks.to_pylist() == [
        {"pid": 7, "stack": 1, "frames": [{"module": "/srv/codec.so", "offset": 9, "function": None}]}
    ]


def test_batches_with_dictionaries_of_their_own_become_one_table(tmp_path):
    first, second = events(3, errno="ENOENT"), events(2, errno="EMFILE")
    write(tmp_path, pa.concat_tables([first, second]), rows=3)
    (kernel, _, _), losses = read_from(tmp_path)
    assert losses == []
    assert kernel.schema == KERNEL
    assert kernel["errno"].to_pylist() == ["ENOENT"] * 3 + ["EMFILE"] * 2
    assert kernel["path"].to_pylist() == [""] * 5


def test_a_stream_that_breaks_off_is_read_up_to_there_and_said(tmp_path):
    path = write(tmp_path, events(100))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (kernel, _, _), losses = read_from(tmp_path)
    assert 0 < kernel.num_rows < 100
    assert kernel["time_ns"].to_pylist() == list(range(kernel.num_rows))
    assert ["cut off" in loss.reason for loss in losses] == [True]


def test_more_rows_than_are_read_are_a_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "MAX_EVENTS", 25)
    write(tmp_path, events(100))
    (kernel, _, _), losses = read_from(tmp_path)
    assert kernel.num_rows == 25
    assert losses[0].reason == "more than 25 rows"


def test_indices_beyond_a_dictionary_are_refused(tmp_path):
    table = events(4)
    wild = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 99], pa.int32()), pa.array(["a"]), safe=False)
    write(tmp_path, table.set_column(2, KERNEL.field("kind"), pa.chunked_array([wild])))
    (kernel, _, _), losses = read_from(tmp_path)
    assert kernel.num_rows == 0
    assert "damaged" in losses[0].reason


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"colour": ["red"]}), "has no column time_ns"),
        (pa.table({"time_ns": ["soon"], "kind": ["open"], "pid": [1], "tid": [1]}), "not those of this file"),
    ],
)
def test_another_table_is_a_loss(tmp_path, table, said):
    write(tmp_path, table)
    (kernel, _, _), losses = read_from(tmp_path)
    assert kernel.num_rows == 0
    assert any(said in loss.reason for loss in losses)


def test_columns_of_an_older_agent_are_filled(tmp_path):
    write(tmp_path, events(2).select(["time_ns", "kind", "pid", "tid"]))
    (kernel, _, _), losses = read_from(tmp_path)
    assert kernel.select(["errno", "value", "failure"]).to_pylist() == [{"errno": "", "value": 0, "failure": False}] * 2
    assert any(loss.reason == "has no column errno" for loss in losses)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 5000), byte=st.integers(0, 255), cut=st.integers(0, 8000))
def test_no_damage_raises(tmp_path, at, byte, cut):
    raw = bytearray(write(tmp_path, events(30, errno="ENOENT", path="/x")).read_bytes())
    raw[at % len(raw)] = byte
    (tmp_path / "kernel.arrow").write_bytes(bytes(raw[: len(raw) - cut % len(raw)]))
    (kernel, _, _), _ = read_from(tmp_path)
    kernel.validate(full=True)
    assert kernel.schema == KERNEL


def test_a_bundle_hands_them_on(tmp_path):
    (tmp_path / "spans.otlp.jsonl").write_text(json.dumps({"resourceSpans": []}) + "\n")
    write(tmp_path, events(3))
    write(tmp_path, pa.table({"pid": [7], "service": ["shop"], "exit_signal": [11]}), "processes.arrow")
    telemetry = read(open_bundle(tmp_path))
    assert telemetry.kernel.num_rows == 3
    assert telemetry.processes["service"].to_pylist() == ["shop"]
    assert telemetry.processes["exit_signal"].to_pylist() == [11]
