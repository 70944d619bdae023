"""Starts services inside the sandbox and says how long that took. Standard library only; run as a program.

python starter.py '[{"name", "directory", "prepare", "run", "ready", "port", "environment": {...}}, ...]'
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

POLL_S = 0.01


def main() -> None:
    """Prepare and start each service when the one before it is ready; print the seconds of all, and end them."""
    services, running = json.loads(sys.argv[1]), []
    for one in services:
        Path(one["environment"]["DATA"]).mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    try:
        for one in services:
            _script(one, one["prepare"] or "true").wait()
            running.append(_script(one, one["run"]))
            while not _ready(one):
                if running[-1].poll() is not None:
                    sys.exit(f"{one['name']} ended with {running[-1].returncode}")
                time.sleep(POLL_S)
        print(f"took {time.perf_counter() - begin}", flush=True)
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _script(one: dict[str, Any], script: str) -> subprocess.Popen[bytes]:
    command = ["bash", "-e", "-o", "pipefail", "-c", script]
    return subprocess.Popen(command, cwd=one["directory"], env=one["environment"], start_new_session=True)


def _ready(one: dict[str, Any]) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", one["port"], timeout=5)
    try:
        connection.request("GET", one["ready"])
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    main()
