"""Packets that a network loses: retransmits are joined to the span that sent, with the socket's confidence.

The network is the test's own namespace: half of the packets to one port are dropped there by nftables.
"""

import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.once]

RULES = """
table inet lossy {
  chain arriving {
    type filter hook input priority 0
    tcp dport 9009 tcp flags & (syn | fin) == 0x0 numgen random mod 100 < 50 drop
  }
}
"""
SCRIPT = """
import os, socket, subprocess, sys, threading, time
sys.path.append(os.environ["CONTEXT"])
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["nft", "-f", "-"], input=os.environ["RULES"].encode(), check=True)
import butfor_context
butfor_context.install(); butfor_context.publish({"service.name": "lossy"}); time.sleep(1.0)

def serve(listener):
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=drain, args=(peer,), daemon=True).start()

def drain(peer):
    while peer.recv(65536): pass

listener = socket.create_server(("127.0.0.1", 9009))
threading.Thread(target=serve, args=(listener,), daemon=True).start()

def send():
    ids = os.urandom(24); before = butfor_context.activate(ids)
    with socket.create_connection(("127.0.0.1", 9009)) as client:
        sys.stdout.write(f"{client.getsockname()[1]} {ids.hex()}\\n"); sys.stdout.flush()
        for _ in range(8):
            client.sendall(b"x" * 500); time.sleep(0.02)
        time.sleep(1.0)
    butfor_context.activate(before)

threads = [threading.Thread(target=send) for _ in range(6)]
[one.start() for one in threads]; [one.join() for one in threads]
"""


def usable():
    return (
        os.geteuid() == 0
        and all(shutil.which(name) for name in ("unshare", "nft", "ip"))
        and subprocess.run(["unshare", "-n", "nft", "list", "ruleset"], capture_output=True, check=False).returncode
        == 0
    )


@pytest.mark.skipif(not usable(), reason="needs root, unshare, ip and nft with NF_TABLES")
def test_every_retransmit_is_joined_to_the_span_that_sent_it(session, context_writer, tmp_path):
    path = tmp_path / "kernel.arrow"
    session.open(path)
    process = subprocess.Popen(
        ["unshare", "-n", "/bin/sh", "-c", 'read x; exec "$@"', "-", sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "CONTEXT": str(context_writer), "RULES": RULES},
    )  # fmt: skip
    session.watch(process.pid)
    out, _ = process.communicate(b"go\n", timeout=60)
    session.close()
    assert process.returncode == 0
    sent = dict(line.split() for line in out.decode().splitlines())
    assert len(sent) == 6
    rows = pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist()
    again = [row for row in rows if row["kind"] == "retransmit" and row["remote"] == "127.0.0.1:9009"]
    assert len(again) >= 6, sorted({(row["kind"], row["remote"], row["join"], row["comm"]) for row in rows})
    told = [(row["trace_id"] + row["span_id"], row["join"]) for row in again]
    # the client's connection names its span; what the kernel stored for the socket is said to be just that
    assert told == [(sent[row["local"].rpartition(":")[2]], "socket") for row in again]
