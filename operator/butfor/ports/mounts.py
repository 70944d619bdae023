"""What is seen inside a sandbox, as arguments of bubblewrap: file systems, namespaces, a few files of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HOME = "/tmp/home"  # noqa: S108 - inside the sandbox, a tmpfs of its own
_ETC = (
    "alternatives", "ca-certificates", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types",
    "pki", "protocols", "services", "ssl",
)  # fmt: skip
_ETC_NETWORK = ("resolv.conf", "pip.conf")
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n"
_HOSTS = "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost\n"


@dataclass
class Mounts:
    """The argument list of bubblewrap as it grows; `data` are (descriptor, content) of files made from memory.

    `users` are names and ids in /etc/passwd, besides root.
    """

    bwrap: str
    users: Mapping[str, int]
    arguments: list[str] = field(default_factory=list)
    data: list[tuple[int, bytes]] = field(default_factory=list)
    _made: set[str] = field(default_factory=lambda: {"/", "/tmp", HOME})  # noqa: S108 - made by `system`

    def add(self, *arguments: str) -> None:
        """Append arguments."""
        self.arguments += arguments

    def made(self, inside: str) -> None:
        """Note a folder that a mount has made, so that `parents` leaves its mode alone."""
        self._made.add(inside)

    def parents(self, inside: str) -> None:
        """Make the folders above a mount point enterable; bubblewrap by itself makes them 0700."""
        for folder in reversed(Path(inside).parents):
            if str(folder) not in self._made and not folder.is_relative_to("/usr"):
                self._made.add(str(folder))
                self.add("--perms", "0755", "--dir", str(folder))

    def system(self, *, network: bool) -> None:
        """/usr, a minimal /etc, /proc, /dev, memory file systems; namespaces of its own."""
        self.add(self.bwrap, "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
        self.add("--hostname", "sandbox", "--die-with-parent", "--ro-bind", "/usr", "/usr")
        if not network:
            self.add("--unshare-net")
        for name in ("bin", "sbin", "lib", "lib32", "lib64"):
            folder = Path("/", name)
            if folder.is_symlink():
                self.add("--symlink", str(folder.readlink()), str(folder))
            elif folder.is_dir():
                self.add("--ro-bind", str(folder), str(folder))
        self.add("--perms", "0755", "--dir", "/etc")
        for name in (*_ETC, *(_ETC_NETWORK if network else ())):
            self.add("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
        self._files()
        self.add("--proc", "/proc", "--dev", "/dev")
        for memory in ("/dev/shm", "/tmp", HOME):  # noqa: S108 - inside, tmpfs of its own
            self.add("--perms", "1777", "--tmpfs", memory)

    def _files(self) -> None:
        people = [f"{name}:x:{number}:{number}::{HOME}:/bin/bash\n" for name, number in self.users.items()]
        self.file("/etc/passwd", "root:x:0:0::/:/usr/sbin/nologin\n" + "".join(people))
        self.file("/etc/group", "root:x:0:\n" + "".join(f"{name}:x:{n}:\n" for name, n in self.users.items()))
        self.file("/etc/nsswitch.conf", _NSSWITCH)
        self.file("/etc/hosts", _HOSTS)

    def file(self, inside: str, text: str) -> None:
        """A small file that everyone inside may read, handed over through a descriptor."""
        descriptor = os.memfd_create("sandbox-file", os.MFD_CLOEXEC)
        self.data.append((descriptor, text.encode()))
        self.add("--perms", "0644", "--ro-bind-data", str(descriptor), inside)
