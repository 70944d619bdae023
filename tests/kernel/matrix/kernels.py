"""Kernels to try the probes on: Debian's cloud kernels, by the machine's own apt, kept in the cache outside the tree.

Apt works in a folder of its own: nothing of the machine's package state is read or changed, nothing is installed.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from butfor.ports.caches import cache_root

SUITES = ("bullseye", "bookworm", "trixie", "trixie-backports")
_META = "linux-image-cloud-amd64"
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Unavailable(Exception):  # noqa: N818 - an answer, not a defect
    """The kernel cannot be had here; the message says why."""


def cached(suite):
    """The suite's kernel image, None where it was not fetched yet."""
    return next(iter(sorted(_folder(suite).glob("vmlinuz-*"))), None)


def fetched(suites=SUITES):
    """Kernel images by suite, fetched where they are not there; one that cannot be had is said on stderr and left out."""
    found = {suite: cached(suite) for suite in suites}
    for suite in [suite for suite, image in found.items() if image is None]:
        try:
            found[suite] = _fetch(suite)
        except Unavailable as reason:
            print(f"{suite}: {reason}", file=sys.stderr)
    return {suite: image for suite, image in found.items() if image}


def _folder(suite):
    return cache_root() / "kernels" / suite


def _fetch(suite):
    apt = _Apt(suite)
    version = apt.version()
    wanted = re.search(r"linux-image-[^ ,]+", apt.said("apt-cache", "show", f"{_META}={version}").split("Depends:")[1])
    assert wanted, version
    # lately the image is a package of its own, which the one of the old name only depends on
    depends = re.search(r"^Depends:.*?(linux-binary-[^ ,]+)", apt.said("apt-cache", "show", wanted[0]), re.MULTILINE)
    apt.said("apt-get", "download", depends[1] if depends else wanted[0])
    (package,) = apt.folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package, apt.folder / "package"], check=True)
    (image,) = (path for path in (apt.folder / "package").rglob("vmlinuz*") if path.is_file())
    name = image.name if "-" in image.name else f"vmlinuz-{image.parent.name}"
    ready = image.rename(_folder(suite) / name)
    shutil.rmtree(apt.folder)
    return ready


class _Apt:
    """Apt over one suite of the mirror that this machine uses."""

    def __init__(self, suite):
        if not shutil.which("apt-get") or not Path(_KEYS).exists():
            raise Unavailable("it needs apt and Debian's keys")
        self.suite, self.folder = suite, _folder(suite) / "apt"
        shutil.rmtree(self.folder, ignore_errors=True)
        for part in ("lists/partial", "cache/archives/partial", "parts"):
            (self.folder / part).mkdir(parents=True)
        (self.folder / "sources.list").write_text(f"deb [signed-by={_KEYS}] {_mirror()} {suite} main\n")
        self.said("apt-get", "update")

    def version(self):
        rows = [row.split("|") for row in self.said("apt-cache", "madison", _META).splitlines()]
        if not rows:
            raise Unavailable(f"it has no {_META}")
        return rows[0][1].strip()

    def said(self, program, *arguments):
        settings = {
            "Dir::Etc::sourcelist": "sources.list", "Dir::Etc::sourceparts": "parts", "Dir::State::lists": "lists",
            "Dir::Cache": "cache",
        }  # fmt: skip
        options = [f"-o{name}={self.folder / value}" for name, value in settings.items()]
        more = ["-oAcquire::Languages=none", "-oAPT::Sandbox::User=root", "-oAPT::Architecture=amd64"]
        done = subprocess.run(
            [program, *options, *more, *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unavailable((done.stderr.strip().splitlines() or [f"{program} failed"])[-1])
        return done.stdout


def _mirror():
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Origin: Debian"],
        capture_output=True,
        text=True,
        check=False,
    )
    sites = [site for site in done.stdout.split() if not site.rstrip("/").endswith("-security")]
    if not sites:
        raise Unavailable("apt has no mirror of Debian")
    return sites[0]
