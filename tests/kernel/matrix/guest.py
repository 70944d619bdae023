"""The guest's init: for each way of attaching, run the agent over a program that fails in known ways; say what came.

One line of JSON a way on the console, then the machine is off.
"""

import ctypes
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import traceback
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
MARK = "BUTFOR-MATRIX "
WORK = """
import os, signal, socket, struct, sys, time
import butfor_context
butfor_context.install(); butfor_context.publish({"service.name": "guest"})
print("ready", flush=True)
sys.stdin.readline()
butfor_context.activate(bytes(range(1, 25)))
try: open("/nothing/there")
except OSError: pass
try: socket.create_connection(("127.0.0.1", 9))
except OSError: pass
time.sleep(0.1)
full = socket.socket(); full.bind(("127.0.0.1", 0)); full.listen(0)
kept = []
for _ in range(2):  # the second finds no room: what it sends is dropped and sent again
    kept.append(socket.socket()); kept[-1].settimeout(2.5)
    try: kept[-1].connect(full.getsockname())
    except OSError: pass
door = socket.socket(); door.bind(("127.0.0.1", 0)); door.listen()
client = socket.create_connection(door.getsockname()); served, _ = door.accept()
served.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); served.close()
try: client.recv(1)
except OSError: pass
client = socket.create_connection(door.getsockname()); served, _ = door.accept()
client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); client.close()
if not os.fork(): os.execv(sys.executable, [sys.executable, "-S", "-E", "-c", ""])
os.wait()
if not os.fork(): os.kill(os.getpid(), signal.SIGSEGV)
os.wait()
if os.path.exists("/cgroup/small"):
    if not os.fork():
        open("/cgroup/small/cgroup.procs", "w").write(str(os.getpid()))
        held = bytearray(256 << 20); os._exit(0)
    os.wait()
os._exit(3)
"""


def mounted():
    for kind, place in (
        ("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp"), ("tracefs", "/sys/kernel/tracing"),
        ("cgroup2", "/cgroup"),
    ):  # fmt: skip
        Path(place).mkdir(parents=True, exist_ok=True) if not place.startswith("/sys/") else None
        LIBC.mount(kind.encode(), place.encode(), kind.encode(), 0, None)


def prepared():
    with socket.socket() as any_socket:  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
    Path("/cgroup/cgroup.subtree_control").write_text("+memory")
    Path("/cgroup/small").mkdir()
    Path("/cgroup/small/memory.max").write_text(str(64 << 20))


def asked(agent, **command):
    agent.stdin.write(json.dumps(command) + "\n")
    agent.stdin.flush()
    return answered(agent)


def answered(agent):
    line = agent.stdout.readline()
    return json.loads(line) if line else {"ok": False, "why": "the agent ended"}


def tried(way):
    import pyarrow as pa

    command = [sys.executable, "-m", "butfor_agent", "--objects", "/probes", "--attach", way, "--ring-mb", "8"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as agent:
        status = answered(agent)
        if not status["ok"]:
            return {"way": way, "why": status["why"]}
        with subprocess.Popen(
            [sys.executable, "-c", WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as work:
            work.stdout.readline()
            answers = [asked(agent, do="open", folder="/tmp"), asked(agent, do="watch", pid=work.pid)]
            work.stdin.write("go\n")
            work.stdin.flush()
            code = work.wait()
        answers.append(asked(agent, do="close"))
        agent.stdin.close()
    rows = pa.ipc.open_stream(Path("/tmp/kernel.arrow").read_bytes()).read_all().to_pylist()
    return {
        "way": way, "probes": status["probes"], "ways": status["ways"], "code": code,
        "refused": [answer["why"] for answer in answers if not answer["ok"]], "events": events(rows),
        "exact": sum(row["join"] == "thread" for row in rows), "losses": answers[-1].get("losses"),
    }  # fmt: skip


def events(rows):
    """How many of each: the kind, with what failed where a call or a signal did."""
    counts = {}
    for row in rows:
        more = row["errno"] or (str(row["value"]) if row["kind"] == "signal" else "")
        key = f"{row['kind']} {more}".strip()
        counts[key] = counts.get(key, 0) + 1
    return counts


def main():
    mounted()
    # the loader's cache of libraries is not here, and a module has no path to those beside it
    os.environ.update(PYTHONPATH=Path("/paths").read_text(), PATH="/bin", HOME="/tmp")
    sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)
    prepared()
    arguments = re.search(r"ways=(\S+)", Path("/proc/cmdline").read_text())
    for way in arguments[1].split(","):
        try:
            row = tried(way)
        except Exception as error:
            traceback.print_exc()
            row = {"way": way, "broken": True, "why": f"{type(error).__name__}: {error}"}
        print(MARK + json.dumps(row), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        main()
    except Exception:
        traceback.print_exc()
    sys.stdout.flush()
    LIBC.reboot(0x4321FEDC)
