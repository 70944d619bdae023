"""The fixture that starts a service under injection."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from injected_services import PACKAGE, SERVICES, Service, Spool, free_port


@pytest.fixture
def start(tmp_path, monkeypatch):
    """`start([argv with PORT], env={})` runs a service with our site folder on PYTHONPATH and waits for it."""
    running: list[Service] = []

    def launch(argv: list[str], env: dict[str, str] | None = None, *, wait: bool = True) -> Service:
        port = free_port()
        argv = [part.replace("PORT", str(port)) for part in argv]
        spool, log = tmp_path / "spool", tmp_path / "service.log"
        variables = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(tmp_path),
            "PYTHONPATH": os.pathsep.join([str(PACKAGE / "site"), str(SERVICES)]),
            "BUTFOR_SPOOL": str(spool),
            "BUTFOR_SERVICE": "behaviours",
            "BUTFOR_REVISION": "0" * 40,
            "PYTHONWARNINGS": "ignore",
            **(env or {}),
        }
        with log.open("wb") as out:
            process = subprocess.Popen(
                argv, env=variables, cwd=tmp_path, stdout=out, stderr=out, start_new_session=True
            )
        service = Service(process, port, Spool(spool), log)
        running.append(service)
        if wait:
            service.wait()
        return service

    yield launch
    for service in running:
        service.stop()
