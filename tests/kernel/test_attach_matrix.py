"""Another kernel in an emulated machine, by the way that this one does not have. `make kernels` tries all of them."""

import importlib
import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parent / "matrix"
SUITE = "bookworm"


@pytest.fixture(scope="module")
def matrix():
    """The matrix's own modules, which are a program and no package."""
    sys.path.insert(0, str(FOLDER))
    yield {name: importlib.import_module(name) for name in ("kernels", "images", "boots")}
    sys.path.remove(str(FOLDER))


def test_what_a_package_cannot_bring_is_said_and_left_out(matrix, monkeypatch, capsys, tmp_path):
    kernels = matrix["kernels"]
    monkeypatch.setattr(kernels, "cache_root", lambda: tmp_path)
    monkeypatch.setattr(kernels, "_KEYS", str(tmp_path / "keys"))
    assert kernels.fetched([SUITE]) == {}
    assert f"{SUITE}: it needs apt and Debian's keys" in capsys.readouterr().err


def test_an_archive_is_padded_and_names_each_folder_once(matrix, tmp_path):
    with (tmp_path / "image").open("wb") as stream:
        archive = matrix["images"]._Archive(stream)
        archive.put("/a/b/one", b"1", 0o100644)
        archive.put("/a/b/other", b"22", 0o100644)
        archive.end()
    data = (tmp_path / "image").read_bytes()
    assert len(data) % 4 == 0
    assert data.count(b"070701") == 5  # two folders, two files, the end
    assert data.count(b"a/b\0") == 1


def test_a_kprobe_sees_what_a_tracepoint_does(matrix, bpf, tmp_path):
    kernel, lacking = matrix["kernels"].cached(SUITE), matrix["boots"].lacking()
    if lacking or kernel is None or os.environ.get("BUTFOR_MATRIX") != "1":
        pytest.skip(lacking or ("BUTFOR_MATRIX=1 boots it" if kernel else "make kernels fetches its kernel"))
    matrix["images"].build(tmp_path / "image.cpio")
    (row,) = matrix["boots"].booted(kernel, tmp_path / "image.cpio", ["kprobe"])
    assert row["ways"] == {"lifecycle": "kprobe", "tcp": "kprobe", "waiting": "kprobe"}
    wanted = {"tcp_state", "retransmit", "reset_sent", "reset_received", "fork", "exec", "exit", "oom_kill", "off_cpu"}
    assert wanted | {"signal 11"} <= set(row["events"])
    assert "no kernel function can be traced that tells the same" in row["probes"]["calls"]
