"""Say what the system lacks, as the one line that root must run; exit 1 if something is missing."""

import os
import shutil
import sys

NEEDED = {
    "git": "git",
    "bwrap": "bubblewrap",
    "setpriv": "util-linux",
    "prlimit": "util-linux",
    "bash": "bash",
    "make": "make",
}


def missing_packages() -> list[str]:
    """Debian packages that are not installed, sorted."""
    packages = {package for program, package in NEEDED.items() if shutil.which(program) is None}
    try:
        import ensurepip  # noqa: F401, PLC0415  (Debian ships venv without it unless python3-venv is installed)
    except ImportError:
        packages.add("python3-venv")
    return sorted(packages)


def main() -> int:
    """Install what is missing when root, else print the line that root must run."""
    packages = missing_packages()
    if not packages:
        return 0
    line = "apt-get install -y " + " ".join(packages)
    if os.geteuid() == 0 and shutil.which("apt-get"):
        sys.stderr.write(f"installing system packages: {' '.join(packages)}\n")
        return os.system(f"apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive {line} >/dev/null") >> 8  # noqa: S605
    sys.stderr.write(f"system packages are missing; run as root: {line}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
