"""Foreign code gets no privilege, no network, no files of the user, and ends at its limits."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from butfor.errors import UserError
from butfor.ports.sandboxes import Limits, Sandbox
from butfor.ports.watches import memory_of


def test_is_not_root_and_has_no_capability(shell):
    done, text = shell("id -u; grep -h CapEff /proc/self/status; grep NoNewPrivs /proc/self/status")
    assert done.code == 0
    assert text.split()[0] not in ("0", "")
    assert "CapEff:\t0000000000000000" in text
    assert "NoNewPrivs:\t1" in text


def test_sees_no_network_but_its_own_loopback(shell):
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        done, text = shell(f"cat /proc/net/dev | tail -n +3 | cut -d: -f1; (echo > /dev/tcp/127.0.0.1/{port}) 2>&1")
    assert text.split()[0] == "lo"
    assert len([line for line in text.splitlines() if line.strip() == "lo"]) == 1
    assert "refused" in text
    assert done.code != 0


def test_setup_may_use_the_network_of_the_machine(shell):
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        done, text = shell(f"echo > /dev/tcp/127.0.0.1/{port}", network=True)
    assert done.code == 0, text


def test_sees_no_file_of_the_user(shell, place, monkeypatch):
    secret = place / "secret"
    secret.write_text("s3cret")
    monkeypatch.setenv("MY_TOKEN", "t0ken")
    home = Path.home()
    done, text = shell(
        f"cat {secret}; ls -A {home}/.ssh {home}/.config {home}/.bash_history; ls /home /work /mnt; env; ls -A /tmp"
    )
    assert "s3cret" not in text
    assert "t0ken" not in text
    assert done.code == 0
    assert text.count("No such file") >= 3


def test_cannot_write_what_is_shown_to_it(shell, place):
    tree = place / "tree"
    tree.mkdir()
    (tree / "file").write_text("as it was")
    script = """
        for p in /usr/x /etc/x /x /srv/x /shown/x /etc/passwd /proc/sys/kernel/hostname; do
            (echo y > $p) 2>/dev/null && echo wrote $p
        done
        cat /shown/file
    """
    _, text = shell(script, read_only={tree: "/shown"})
    assert text == "as it was"
    assert [p.name for p in tree.iterdir()] == ["file"]


def test_what_waits_for_its_input_sees_what_is_made_while_it_starts(sandbox, place):
    tree, log = place / "tree", place / "log"
    tree.mkdir()

    def ready():
        (tree / "file").write_text("made later")

    shown = sandbox.inside(tree, "/shown")
    script = f"read -r _; cat {shown}/file"
    sandbox.run(["bash", "-c", script], env={}, cwd="/", stdout=log, read_only={tree: shown}, ready=ready)
    assert log.read_text() == "made later"


def test_what_cannot_be_made_while_it_starts_ends_the_run(sandbox, place):
    def ready():
        raise UserError("no such revision")

    log = place / "log"
    with pytest.raises(UserError, match="no such revision"):
        sandbox.run(["bash", "-c", "read -r _; sleep 60; echo ran"], env={}, cwd="/", stdout=log, ready=ready)
    assert "ran" not in log.read_text()


def test_writes_to_its_own_folders_only(shell, place):
    out = place / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "old").write_text("old")
    done, text = shell(
        "echo new > /out/new && echo changed > /out/deep/old && echo m > /memory/x && echo t > /tmp/t && echo h > ~/h",
        writable={out: "/out"}, scratch={place / "unused": "/memory"},
    )  # fmt: skip
    assert done.code == 0, text
    assert (out / "new").read_text() == "new\n"
    assert (out / "deep" / "old").read_text() == "changed\n"
    assert not (place / "unused").exists()


def test_the_deadline_ends_everything_that_was_started(shell, place):
    out = place / "out"
    start = time.monotonic()
    done, _ = shell(
        "setsid nohup bash -c 'while sleep 0.05; do date +%N > /out/beat; done' & trap '' TERM; sleep 100",
        seconds=0.6, writable={out: "/out"},
    )  # fmt: skip
    assert done.cut == "deadline"
    assert time.monotonic() - start < 3
    beat = (out / "beat").read_text()
    time.sleep(0.3)
    assert (out / "beat").read_text() == beat


def test_a_daemon_does_not_outlive_an_ordinary_end(shell, place):
    out = place / "out"
    done, _ = shell(
        "setsid nohup bash -c 'while sleep 0.05; do date +%N > /out/beat; done' & sleep 0.3", writable={out: "/out"}
    )
    assert done.code == 0
    assert done.cut is None
    beat = (out / "beat").read_text()
    time.sleep(0.3)
    assert (out / "beat").read_text() == beat


FORK_BOMB = """
import os, time
children = 0
try:
    while children < 400:
        if os.fork() == 0:
            time.sleep(30)
        children += 1
except OSError as error:
    print(children, error.strerror)
"""


def test_a_fork_bomb_is_cut_off(shell):
    _, text = shell('"$PYTHON" -c "$BOMB"', env={"BOMB": FORK_BOMB}, limits=Limits(seconds=15, processes=50))
    assert int(text.split()[0]) < 50
    assert "temporarily unavailable" in text


def test_a_process_cannot_take_more_memory_than_allowed(shell):
    done, text = shell(
        '"$PYTHON" -c "b = bytearray(300 << 20); print(len(b))"', limits=Limits(seconds=15, memory_bytes=200 << 20)
    )
    assert done.code != 0
    assert "MemoryError" in text


def test_many_processes_together_cannot_take_more_memory_than_allowed(shell):
    script = 'for i in 1 2 3 4; do "$PYTHON" -c "import time; b = b\'x\' * (80 << 20); time.sleep(20)" & done; wait'
    done, _ = shell(script, limits=Limits(seconds=15, memory_bytes=200 << 20))
    assert done.cut == "memory"


def test_memory_that_is_shown_to_be_used_is_that_of_all_descendants():
    child = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; b = b'x' * (50 << 20); print(1, flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with child:
        child.stdout.read(1)
        assert memory_of(os.getpid()) > memory_of(child.pid) > 50 << 20
        child.stdin.close()


def test_output_that_grows_without_end_is_cut_off(shell, place):
    out = place / "out"
    limits = Limits(seconds=30, file_bytes=4 << 20, output_bytes=8 << 20)
    done, _ = shell(
        "for i in $(seq 10000); do head -c 1000000 /dev/zero > /out/$i 2>/dev/null; sleep 0.05; done",
        limits=limits, writable={out: "/out"},
    )  # fmt: skip
    assert done.cut == "output"


def test_one_file_cannot_grow_beyond_its_limit(shell, place):
    out = place / "out"
    shell("head -c 9000000 /dev/zero > /out/big", limits=Limits(seconds=9, file_bytes=1 << 20), writable={out: "/out"})
    assert (out / "big").stat().st_size == 1 << 20


def test_exit_codes_and_signals_are_told_apart(shell):
    assert shell("exit 7")[0].code == 7
    assert shell("kill -KILL $$")[0].code == 128 + signal.SIGKILL


RUN_AND_WAIT = """
    import sys
    from pathlib import Path
    from butfor.ports.sandboxes import Limits, Sandbox
    box = Sandbox(sys.argv[1], bwrap=sys.argv[3])
    box.run(["bash", "-c", "while sleep 0.05; do date +%N > /out/beat; done"], env={}, cwd="/",
            stdout=Path("/dev/null"), writable={Path(sys.argv[2]): "/out"}, limits=Limits(seconds=60))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_when_we_die_or_are_interrupted(sandbox, place, number):
    out = place / "out"
    command = [sys.executable, "-c", textwrap.dedent(RUN_AND_WAIT), sandbox.kind, str(out), sandbox.bwrap]
    out.mkdir()
    out.chmod(0o777)
    ours = subprocess.Popen(command, stderr=subprocess.PIPE)
    with ours:
        for _ in range(200):
            if (out / "beat").exists():
                break
            time.sleep(0.05)
        assert (out / "beat").exists()
        ours.send_signal(number)
        ours.wait(timeout=10)
        ours.stderr.close()
    time.sleep(0.2)
    beat = (out / "beat").read_text()
    time.sleep(0.3)
    assert (out / "beat").read_text() == beat


def test_without_namespaces_the_report_says_so():
    assert "NOT isolated (no bubblewrap)" in Sandbox("none", "no bubblewrap").describe()


def test_what_a_sandbox_cannot_keep_apart_is_said():
    assert Sandbox("root").shortcomings() == []
    assert "could forge" in Sandbox("root", keeps_rights=False).shortcomings()[0]
    assert "could forge" in Sandbox("user").shortcomings()[0]
    assert "NOT isolated" in Sandbox("none", "x").shortcomings()[0]


def test_without_namespaces_limits_and_user_still_hold(place):
    log = place / "log"
    box = Sandbox("none", "as a test")
    done = box.run(["bash", "-c", "id -u; sleep 20"], env={}, cwd="/", stdout=log, limits=Limits(seconds=0.5))
    assert done.cut == "deadline"
    assert log.read_text().strip() != "0"


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user reaches its own folders")
def test_without_namespaces_root_is_told_what_its_substitute_cannot_reach(tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="BUTFOR_CACHE"):
        Sandbox("none", "as a test").run(
            ["true"], env={}, cwd="/", stdout=tmp_path / "log", read_only={tmp_path / "in": "/in"}
        )
