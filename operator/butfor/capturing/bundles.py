"""Writing a capture bundle (design.md, *Capture bundle*) from a spool: whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import Literal

import zstandard

from butfor.capturing.crashes import Crashed
from butfor.capturing.facts import Facts
from butfor.capturing.kernels import KernelPart
from butfor.capturing.losses import Losses
from butfor.capturing.redactions import Redactor
from butfor.capturing.spools import Document, Limits, Spool, spans_of
from butfor.errors import InfrastructureError, UserError
from butfor.evidence.bundles import CapturedService, Loss, Manifest
from butfor.evidence.recordings import KERNEL_FILES, KernelRecording
from butfor.evidence.requests import Payload

Privacy = Literal["redacted", "local"]
LOCAL_TTL_NS = 30 * 86_400 * 10**9
ROOTS = {"spans": "resourceSpans", "logs": "resourceLogs", "metrics": "resourceMetrics"}


def write_bundle(
    spool: Path,
    out: Path,
    *,
    services: list[CapturedService],
    privacy: Privacy,
    start_ns: int,
    end_ns: int,
    losses: list[Loss] | None = None,
    notes: list[str] | None = None,
    redactor: Redactor | None = None,
    extra: dict[str, str] | None = None,
    limits: Limits | None = None,
    left_out: frozenset[str] = frozenset(),
    kernel: KernelRecording | None = None,
) -> Path:
    """Merge a spool into a bundle and return `out`; a name that ends in `.tar.zst` gives one file.

    `redacted` without a redactor gets one with a fresh key and an empty allowlist. `extra` are further files by
    name, `left_out` traces of our own requests, `kernel` what the agent recorded meanwhile. An earlier bundle at `out`
    is replaced; anything else there is a UserError.
    """
    check_place(out)
    chosen = redactor or (Redactor() if privacy == "redacted" else None)
    expires = end_ns + LOCAL_TTL_NS if privacy == "local" else None
    manifest = Manifest(start_ns=start_ns, end_ns=end_ns, privacy=privacy, notes=notes or [], expires_ns=expires)
    with _temporary(out) as folder:
        writing = _Writing(Spool(spool, Losses(losses), limits, left_out), folder, services, chosen, kernel)
        writing.learn()
        manifest = writing.write(manifest)
        (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1) + "\n")
        for name, text in (extra or {}).items():
            (folder / name).write_text(chosen.text(text) if chosen else text)
        _place(folder, out, private=privacy == "local")
    return out


def check_place(out: Path) -> None:
    """A UserError where `out` is something that is not a bundle and would have to be replaced."""
    packed = out.name.endswith(".tar.zst")
    if packed and out.is_dir():
        raise UserError(f"{out} is a folder; give --out a file name that is free")
    replaceable = (
        packed or not out.exists() or (out.is_dir() and ((out / "manifest.json").exists() or not any(out.iterdir())))
    )
    if not replaceable:
        raise UserError(f"{out} exists and is no bundle; give --out another name")


def free_place(out: Path) -> Path:
    """`out`, a folder `NAME/bundle`, where it is free; else the first of `NAME-2/bundle` and so on that is."""
    numbered = (out.parent.with_name(f"{out.parent.name}-{n}") / out.name for n in count(2))
    return next(place for place in chain([out], numbered) if not _taken(place))


def check_free(out: Path) -> None:
    """A UserError where `out` holds a bundle, or what would have to be replaced: a capture never destroys one."""
    check_place(out)
    if _taken(out):
        raise UserError(f"{out} holds a bundle; give another --out, or remove it first")


def _taken(out: Path) -> bool:
    return out.exists() and not (out.is_dir() and not any(out.iterdir()))


def remove_expired(folder: Path, now_ns: int) -> list[Path]:
    """Delete the bundles `folder/*/bundle` whose raw values are due; returns their paths."""
    removed = []
    for path in sorted(folder.glob("*/bundle/manifest.json")):
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except (OSError, ValueError):
            continue
        if manifest.privacy == "local" and manifest.expires_ns is not None and manifest.expires_ns < now_ns:
            shutil.rmtree(path.parent, ignore_errors=True)
            removed.append(path.parent)
    return removed


class _Writing:
    """One bundle being written."""

    def __init__(
        self, spool: Spool, folder: Path, services: list[CapturedService], redactor: Redactor | None,
        kernel: KernelRecording | None,
    ) -> None:  # fmt: skip
        self.spool, self.folder, self.redactor = spool, folder, redactor
        self.kernel = KernelPart(kernel or KernelRecording(), redactor)
        self.facts = Facts(services, spool.facts("process"))
        self.payloads = spool.payloads()

    def learn(self) -> None:
        """Let the redactor see everything before anything is written: a secret may show anywhere."""
        if self.redactor is None:
            return
        again = Spool(
            self.spool.folder, Losses(), self.spool.limits, self.spool.left_out
        )  # its losses are counted when writing
        for payload in self.payloads:
            self.redactor.learn_payload(payload, again.body(payload.request_body), again.body(payload.answer_body))
        for kind, root in (*ROOTS.items(), ("open", "resourceSpans"), ("ended", "resourceSpans")):
            for document in again.documents(kind, root):
                self.redactor.learn_document(document)
        for service in self.facts.services():
            self.redactor.learn_arguments(service.command)
        self.kernel.learn()

    def write(self, manifest: Manifest) -> Manifest:
        """Write spans, logs, metrics and payloads; returns the manifest with all facts."""
        self._lines("spans", self._spans())
        for kind in ("logs", "metrics"):
            self._lines(kind, self.spool.documents(kind, ROOTS[kind]))
        metrics = self.folder / "metrics.otlp.jsonl"
        if metrics.stat().st_size == 0:
            metrics.unlink()  # most services send none; spans and logs are always looked for
        (self.folder / "payloads").mkdir()
        with (self.folder / "payloads" / "index.jsonl").open("w") as index:
            index.writelines(self._payload(p).model_dump_json() + "\n" for p in self.payloads)
        services = [self._service(s) for s in self.facts.services()]
        missing = self.kernel.write(self.folder)
        notes = [*manifest.notes, *self.facts.notes(), *(self.redactor.notes() if self.redactor else [])]
        notes = [self.redactor.text(n) for n in notes] if self.redactor else notes
        losses = [*self.spool.losses.listed(), *missing]
        nodes = [os.uname().nodename] if manifest.privacy == "local" else []
        found = {"services": services, "notes": notes, "losses": losses, "nodes": nodes}
        return manifest.model_copy(update={**found, **self._watched(manifest)})

    def _watched(self, manifest: Manifest) -> Document:
        """What the manifest says of the kernel's events."""
        bpf = self.kernel.bpf(self.folder)
        if not (self.folder / KERNEL_FILES[0]).exists():
            return {"bpf": bpf}
        return {"bpf": bpf, "clocks": {**manifest.clocks, "kernel": self.kernel.clock()}}

    def _spans(self) -> Iterator[Document]:
        """Finished spans as they are, those that were opened and never finished, marked, and what crashed."""
        finished: set[str] = set()
        crashed = Crashed(self.spool)
        for document in self.spool.documents("spans", "resourceSpans"):
            for resource, span in spans_of(document):
                finished.add(f"{span.get('traceId')}{span.get('spanId')}")
                self.facts.see(resource, span)
                crashed.see(resource, span)
            yield document
        yield from self._ended(finished)
        unfinished: dict[str, Document] = {}
        for document in self.spool.documents("open", "resourceSpans"):
            for resource, span in spans_of(document):
                name = f"{span.get('traceId')}{span.get('spanId')}"
                if name not in finished:
                    unfinished[name] = _unfinished(resource, span)
        for document in unfinished.values():
            for resource, span in spans_of(document):
                self.facts.see(resource, span)
                crashed.see(resource, span)
            yield document
        yield from crashed.told(unfinished.values())

    def _ended(self, finished: set[str]) -> Iterator[Document]:
        """Spans that another tracer did not deliver, though the request is known to have ended."""
        for document in self.spool.documents("ended", "resourceSpans"):
            for resource, span in spans_of(document):
                name = f"{span.get('traceId')}{span.get('spanId')}"
                if name not in finished:
                    finished.add(name)
                    self.facts.see(resource, span)
                    yield document

    def _lines(self, kind: str, documents: Iterable[Document]) -> None:
        with (self.folder / f"{kind}.otlp.jsonl").open("w") as file:
            for document in documents:
                kept = self.redactor.document(document) if self.redactor else document
                file.write(json.dumps(kept, separators=(",", ":")) + "\n")

    def _payload(self, payload: Payload) -> Payload:
        request, answer = self.spool.body(payload.request_body), self.spool.body(payload.answer_body)
        if self.redactor:
            payload, request, answer = self.redactor.payload(payload, request, answer)
        stored = {"request_body": self._store(request), "answer_body": self._store(answer)}
        return payload.model_copy(update=stored)

    def _store(self, body: bytes | None) -> str | None:
        if body is None:
            return None
        path = self.folder / "payloads" / hashlib.sha256(body).hexdigest()
        if not path.exists():
            path.write_bytes(body)
        return path.name

    def _service(self, service: CapturedService) -> CapturedService:
        if self.redactor is None:
            return service
        return service.model_copy(update={"command": self.redactor.arguments(service.command)})


def _unfinished(resource: Document, span: Document) -> Document:
    attributes = span.get("attributes")
    mark = {"key": "butfor.unfinished", "value": {"boolValue": True}}
    kept = {k: v for k, v in span.items() if k != "endTimeUnixNano"}
    kept["attributes"] = [*(attributes if isinstance(attributes, list) else []), mark]
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "butfor"}, "spans": [kept]}]}]}


@contextmanager
def _temporary(out: Path) -> Iterator[Path]:
    """A private folder beside `out`; gone afterwards, whatever happens."""
    folder = out.parent / f".{out.name}.{os.getpid()}.tmp"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        yield folder
    except OSError as error:
        raise InfrastructureError(f"the bundle {out} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place(folder: Path, out: Path, *, private: bool) -> None:
    """Give the modes, then rename: raw values are for their owner alone."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod((0o700 if private else 0o755) if path.is_dir() else (0o600 if private else 0o644))
    if out.name.endswith(".tar.zst"):
        _pack(folder, out, private=private)
        return
    old = folder.with_suffix(".old")
    if out.exists():
        out.rename(old)
    folder.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _pack(folder: Path, out: Path, *, private: bool) -> None:
    packed = folder / "packed"
    number = os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    names = sorted(p.name for p in folder.iterdir() if p != packed)
    with (
        os.fdopen(number, "wb") as file,
        zstandard.ZstdCompressor(level=3).stream_writer(file) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w|") as archive,
    ):
        for name in names:
            archive.add(folder / name, arcname=name, filter=_anonymous)
    packed.rename(out)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
