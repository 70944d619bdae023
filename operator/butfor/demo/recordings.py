"""Recorded captures of the demo, for machines whose kernel cannot be watched; one command makes them anew."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import zstandard

from butfor.errors import UserError

FOLDER = "recorded"


@contextmanager
def recordings(names: list[str]) -> Iterator[Path]:
    """The folder that holds NAME.tar.zst for each of the incidents; raises UserError where one was never recorded."""
    with as_file(files("butfor.demo") / FOLDER) as folder:
        if lacking := [name for name in names if not (folder / f"{name}.tar.zst").is_file()]:
            raise UserError(f"{lacking[0]} was never recorded; leave --recorded out, and it is captured live")
        yield folder


def record(bundle: Path, name: str, folder: Path | None = None) -> Path:
    """Pack a live bundle as the recording of an incident, in place of an older one; owners and times are left out."""
    folder = folder or Path(str(files("butfor.demo") / FOLDER))
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    try:
        folder.mkdir(exist_ok=True)
        handle, part = tempfile.mkstemp(dir=folder, prefix=".writing-")
        with os.fdopen(handle, "wb") as file, zstandard.ZstdCompressor(level=19).stream_writer(file) as squeezed:
            _pack(bundle, manifest | {"mode": "recorded", "expires_ns": None}, squeezed)
        Path(part).chmod(0o644)
        return Path(part).rename(folder / f"{name}.tar.zst")
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error


def _pack(bundle: Path, manifest: dict[str, object], out: zstandard.ZstdCompressionWriter) -> None:
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(fileobj=out, mode="w|") as archive:
        changed = Path(scratch) / "manifest.json"
        changed.write_text(json.dumps(manifest, indent=1) + "\n")
        for path in sorted(bundle.iterdir()):
            source = changed if path.name == changed.name else path
            archive.add(source, arcname=path.name, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    return member
