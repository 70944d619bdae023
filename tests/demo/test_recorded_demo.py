"""A recording of the demo is a bundle that says that it is one."""

import pytest

from butfor.demo.recordings import record, recordings
from butfor.errors import UserError
from butfor.evidence.bundles import Manifest
from butfor.ingesting.bundles import open_bundle


def test_what_was_live_says_that_it_is_recorded_and_opens_again(tmp_path):
    bundle = tmp_path / "bundle"
    (bundle / "payloads").mkdir(parents=True)
    (bundle / "manifest.json").write_text(Manifest(start_ns=1, end_ns=2, bpf="live: calls").model_dump_json())
    (bundle / "spans.otlp.jsonl").write_text("{}\n")
    (bundle / "payloads/a").write_bytes(b"body")
    packed = record(bundle, "shop-none", tmp_path / "recorded")
    manifest = open_bundle(packed).manifest
    assert manifest is not None
    assert (manifest.mode, manifest.bpf) == ("recorded", "live: calls")
    assert record(bundle, "shop-none", tmp_path / "recorded").read_bytes() == packed.read_bytes()
    assert sorted(path.name for path in packed.parent.iterdir()) == ["shop-none.tar.zst"]


def test_what_was_never_recorded_is_said():
    with pytest.raises(UserError, match="never recorded"), recordings(["shop-none"]):
        pass
