"""Say what the system lacks, as the one line that root must run; exit 1 if something is missing.

What only the kernel's evidence needs is installed too where root runs this on a kernel that can have it: an ordinary
user is never asked for it, and that it cannot be installed stops nobody.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

NEEDED = {
    "git": "git",
    "bwrap": "bubblewrap",
    "setpriv": "util-linux",
    "prlimit": "util-linux",
    "bash": "bash",
    "make": "make",
}
CLANGS = ("clang", *(f"clang-{version}" for version in range(21, 13, -1)))
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
BTF = Path("/sys/kernel/btf/vmlinux")


def missing_packages() -> list[str]:
    """Debian packages that are not installed, sorted."""
    packages = {package for program, package in NEEDED.items() if shutil.which(program) is None}
    try:
        import ensurepip  # noqa: F401, PLC0415  (Debian ships venv without it unless python3-venv is installed)
    except ImportError:
        packages.add("python3-venv")
    return sorted(packages)


def kernel_packages() -> list[str]:
    """Debian packages that build the probes and the context writer, as far as they are not installed, sorted."""
    there = {
        "clang-16": any(shutil.which(name) for name in CLANGS),
        "bpftool": shutil.which("bpftool", path=SYSTEM_PATH) is not None,
        "libbpf-dev": Path("/usr/include/bpf/bpf_helpers.h").exists(),
        "gcc": shutil.which("gcc") is not None,
        # headers of an interpreter of one's own come with it
        "python3-dev": (Path(sysconfig.get_paths()["include"]) / "Python.h").exists() or sys.base_prefix != "/usr",
    }
    return sorted(package for package, found in there.items() if not found)


def install(packages: list[str]) -> int:
    """Apt's exit code."""
    sys.stderr.write(f"installing system packages: {' '.join(packages)}\n")
    line = f"apt-get install -y {' '.join(packages)}"
    return os.system(f"apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive {line} >/dev/null") >> 8  # noqa: S605


def main() -> int:
    """Install what is missing when root, else print the line that root must run."""
    packages, can_install = missing_packages(), os.geteuid() == 0 and shutil.which("apt-get") is not None
    if packages and not can_install:
        sys.stderr.write(f"system packages are missing; run as root: apt-get install -y {' '.join(packages)}\n")
        return 1
    if packages and (code := install(packages)):
        return code
    wanted = kernel_packages() if can_install and BTF.exists() else []
    if wanted and install(wanted):
        sys.stderr.write("they could not be installed: captures go without kernel events (butfor doctor)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
