"""Opening capture bundles: a folder or a .tar.zst, checked and bounded; nothing here reads telemetry."""

from __future__ import annotations

import atexit
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import zstandard
from pydantic import ValidationError

from butfor.errors import UserError
from butfor.evidence.bundles import FILES, SCHEMA_VERSION, Bundle, Manifest

MAX_BYTES = 16 * 2**30
"""Unpacked size of an archive."""
MAX_MEMBERS = 200_000
MAX_MANIFEST_BYTES = 32 * 2**20
WINDOW_LOG_BYTES = 2**27
"""The largest zstd window that is accepted: more would let a small file ask for gigabytes of memory."""

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def open_bundle(path: Path) -> Bundle:
    """Open a bundle: a folder, or a `.tar.zst`, which is unpacked into a folder removed when the process ends.

    Raises UserError where `path` is no bundle: it does not exist, is foreign, truncated or empty.
    """
    if path.is_dir():
        return _from_folder(path.resolve(), str(path))
    if not path.exists():
        raise UserError(f"{path} does not exist; give a bundle folder or .tar.zst written by `butfor capture`")
    return _from_folder(_unpacked(path), str(path))


def _from_folder(folder: Path, shown: str) -> Bundle:
    present = {entry.name for entry in folder.iterdir()}
    if not present:
        raise UserError(f"{shown} is empty; give a folder with manifest.json or any *.otlp.jsonl")
    otlp = [name for name in present if name.endswith(".otlp.jsonl")]
    if "manifest.json" not in present and not otlp:
        raise UserError(f"{shown} is not a bundle: neither manifest.json nor any *.otlp.jsonl is in it")
    manifest = _manifest(folder / "manifest.json") if "manifest.json" in present else None
    return Bundle(path=folder, manifest=manifest, missing=[name for name in FILES if name not in present])


def _manifest(path: Path) -> Manifest:
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise UserError(f"{path} is larger than {MAX_MANIFEST_BYTES} bytes; it is no manifest of a bundle")
    try:
        raw = json.loads(path.read_bytes())
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "top level"
        raise UserError(f"{path} is not a manifest: {place}: {first['msg']}; capture again") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({_one_line(error)}); the bundle is damaged, capture again") from error
    if manifest.schema_version > SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {manifest.schema_version}, this program reads up to {SCHEMA_VERSION}; upgrade"
        )
    return manifest


def _unpacked(archive: Path) -> Path:
    with archive.open("rb") as file:
        if file.read(4) != _ZSTD_MAGIC:
            raise UserError(f"{archive} is not a .tar.zst; give a bundle written by `butfor capture`")
    folder = Path(tempfile.mkdtemp(prefix="butfor-bundle-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        with _tar(archive) as tar:
            _unpack(tar, folder, archive)
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise UserError(f"{archive} is damaged or cut off ({_one_line(error)}); copy or capture it again") from error
    except OSError as error:
        raise UserError(f"{archive} cannot be unpacked below {folder.parent}: {_one_line(error)}") from error
    return _root(folder)


@contextmanager
def _tar(archive: Path) -> Iterator[tarfile.TarFile]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_LOG_BYTES)
    with (
        archive.open("rb") as file,
        decompressor.stream_reader(file) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        yield tar


def _unpack(tar: tarfile.TarFile, folder: Path, archive: Path) -> None:
    """Only plain files of a bundle's own names are written: no links, devices, or paths that lead elsewhere."""
    left = MAX_BYTES
    for number, member in enumerate(tar):
        if number >= MAX_MEMBERS:
            raise UserError(f"{archive} has more than {MAX_MEMBERS} members; it is no bundle")
        name = member.name.removeprefix("./")
        if member.isdir():
            continue
        if not member.isfile() or not _acceptable(name):
            raise UserError(f"{archive} holds {name[:80]!r}, which no bundle has; it was not unpacked")
        source = tar.extractfile(member)
        assert source is not None
        target = folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        left = _copy(source, target, left, archive)


def _acceptable(name: str) -> bool:
    """At most one folder above the bundle's own names: tar of a folder keeps the folder's name."""
    parts = name.split("/")
    plain = all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,199}", part) for part in parts)
    return plain and len(parts) <= 3 and (len(parts) < 3 or parts[1] == "payloads")


def _copy(source: IO[bytes], target: Path, left: int, archive: Path) -> int:
    with target.open("wb") as out:
        while chunk := source.read(1 << 20):
            left -= len(chunk)
            if left < 0:
                raise UserError(f"{archive} unpacks to more than {MAX_BYTES} bytes; it was not read further")
            out.write(chunk)
    return left


def _root(folder: Path) -> Path:
    """The bundle's folder: where the archive's members share one top folder, that one."""
    entries = list(folder.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and entries[0].name != "payloads":
        return entries[0]
    return folder


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]
