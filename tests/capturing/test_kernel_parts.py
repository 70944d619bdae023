"""The kernel's part of a bundle: whole or absent, named in the manifest, and nothing personal left in a redacted one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from butfor_agent import processes
from butfor_agent.stacks import SCHEMA as STACKS
from butfor_agent.tables import SCHEMA

from butfor.capturing import kernels
from butfor.capturing.bundles import write_bundle
from butfor.capturing.redactions import Redactor
from butfor.evidence.bundles import Loss, Manifest
from butfor.evidence.recordings import KernelRecording

TEXT = pa.dictionary(pa.int32(), pa.string())


def event(**changes):
    row = {
        field.name: "" if field.type == TEXT else False if pa.types.is_boolean(field.type) else 0 for field in SCHEMA
    }
    return {**row, "pid": 7, "kind": "open", "time_ns": 5, **changes}


def batch(rows):
    columns = [pa.array([row[f.name] for row in rows], pa.string() if f.type == TEXT else f.type) for f in SCHEMA]
    return pa.RecordBatch.from_arrays(
        [c.dictionary_encode() if f.type == TEXT else c for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def recording(folder, *batches, command=("shop",)):
    folder.mkdir()
    with pa.ipc.new_stream(str(folder / "kernel.arrow"), SCHEMA) as writer:
        for one in batches:
            writer.write_batch(batch(one))
    known = processes.Process(7, 3, 1, executable="/usr/bin/python3", command=command, service="shop")
    for name, table in (("processes", processes.table([known])), ("stacks", pa.Table.from_pylist([], schema=STACKS))):
        with pa.ipc.new_stream(str(folder / f"{name}.arrow"), table.schema) as writer:
            writer.write_table(table)
    return KernelRecording(
        folder=folder, probes={"calls": "attached", "tcp": "refused: EPERM"}, clock_bound_ns=90,
        losses=[Loss(where="kernel events", count=3, reason="the ring was full")],
    )  # fmt: skip


def bundle(tmp_path, found, privacy="redacted", **more):
    (tmp_path / "spool").mkdir(exist_ok=True)
    out = write_bundle(
        tmp_path / "spool",
        tmp_path / "bundle",
        services=[],
        privacy=privacy,
        start_ns=1,
        end_ns=9,
        kernel=found,
        **more,
    )
    return out, Manifest.model_validate_json((out / "manifest.json").read_text())


def rows(out, name="kernel"):
    return pa.ipc.open_stream((out / f"{name}.arrow").read_bytes()).read_all().to_pylist()


def test_a_local_bundle_has_the_events_as_they_were_and_says_what_was_live(tmp_path):
    out, manifest = bundle(tmp_path, recording(tmp_path / "k", [event(path="/data/ada@example.org")]), "local")
    assert [row["path"] for row in rows(out)] == ["/data/ada@example.org"]
    assert manifest.bpf == "live: calls; not attached: tcp: refused: EPERM"
    assert "within 90 ns" in manifest.clocks["kernel"]
    assert [loss.reason for loss in manifest.losses] == ["the ring was full"]
    assert (out / "kernel.arrow").stat().st_mode & 0o777 == 0o600


def test_a_redacted_bundle_has_fakes_for_what_is_personal_in_paths_addresses_and_arguments(tmp_path):
    found = recording(
        tmp_path / "k",
        [event(path="/data/ada@example.org/cv"), event(remote="203.0.113.7:443", local="127.0.0.1:80")],
        [event(remote="203.0.113.7:443", comm="ada@example.org")],
        command=("shop", "--password", "hunter2-hunter2", "--customer", "ada@example.org"),
    )
    out, _ = bundle(tmp_path, found)
    events = rows(out)
    everything = repr(events) + repr(rows(out, "processes"))
    assert not [one for one in ("ada@", "203.0.113.7", "hunter2") if one in everything]
    assert events[0]["path"].startswith("/data/")
    assert events[1]["local"] == "127.0.0.1:80"
    assert events[1]["remote"] == events[2]["remote"] != ""
    assert events[1]["remote"].endswith(":443")


def test_a_path_that_may_be_cut_loses_its_last_part(tmp_path):
    long = "/data/" + "x" * 60 + "/" + "ada@exampl" * 5
    out, _ = bundle(tmp_path, recording(tmp_path / "k", [event(path=long, path_cut=True)]))
    assert rows(out)[0]["path"] == "/data/" + "x" * 60 + "/"


def test_too_many_different_texts_are_left_out_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "MAX_TEXTS", 3)
    out, manifest = bundle(tmp_path, recording(tmp_path / "k", [event(path=f"/data/{n}") for n in range(9)]))
    assert sum(row["path"] == "" for row in rows(out)) >= 6
    assert any(loss.where == "kernel texts" and loss.count >= 6 for loss in manifest.losses)


@pytest.mark.parametrize("cut", [10, 2000])
def test_files_that_cannot_be_read_are_left_out_as_a_whole(tmp_path, cut):
    found = recording(tmp_path / "k", [event(path=f"/a/{n}") for n in range(500)])
    path = found.folder / "kernel.arrow"
    path.write_bytes(path.read_bytes()[:cut])
    out, manifest = bundle(tmp_path, found)
    assert not list(out.glob("*.arrow"))
    assert manifest.bpf.startswith("not captured")
    assert any("could not be stored" in loss.reason for loss in manifest.losses)


def test_a_redactor_that_fails_stores_nothing(tmp_path):
    class Broken(Redactor):
        def address(self, endpoint):  # noqa: ARG002
            raise ValueError("no rule")

    out, _ = bundle(tmp_path, recording(tmp_path / "k", [event(remote="203.0.113.7:1")]), redactor=Broken())
    assert not list(out.glob("*.arrow"))


def test_without_a_recording_the_manifest_says_why(tmp_path):
    _, manifest = bundle(tmp_path, KernelRecording(reason="kernel events need root"), "local")
    assert manifest.bpf == "not captured: kernel events need root"
    assert "kernel" not in manifest.clocks


def test_hostile_texts_survive_redaction(tmp_path):
    odd = "/\x1b[31m\u202e/" + "\ufffd" * 20
    out, _ = bundle(tmp_path, recording(tmp_path / "k", [event(path=odd, comm="a\nb")]))
    assert np.all([isinstance(row["path"], str) for row in rows(out)])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "CLOCK_MONOTONIC as CLOCK_REALTIME, within 90 ns"),
        ({"clock_steps": 2}, "within 90 ns; the wall clock was set 2 times meanwhile"),
        ({"clock_bound_ns": 0}, "how closely is not known"),
    ],
)
def test_the_manifest_says_how_far_times_can_be_trusted(tmp_path, changes, said):
    found = recording(tmp_path / "k", [event()]).model_copy(update=changes)
    _, manifest = bundle(tmp_path, found, "local")
    assert said in manifest.clocks["kernel"]
