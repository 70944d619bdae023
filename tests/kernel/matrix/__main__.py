"""`python tests/kernel/matrix`: boot Debian's kernels without hardware support, attach by each way, print what came."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import boots
import images
import kernels
from butfor_agent.attaching import WAYS

HEADS = ("kernel", "way", "calls", "tcp", "lifecycle", "waiting")
WANTED = {
    "calls": ("open ENOENT", "connect ECONNREFUSED"),
    "tcp": ("tcp_state", "retransmit", "reset_sent", "reset_received"),
    "lifecycle": ("fork", "exec", "exit", "signal 11", "oom_kill"),
    "waiting": ("off_cpu",),
}


def main():
    """Exit code 1 where a guest broke off, or a probe was attached and an event that it is for did not come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suites", default=",".join(kernels.SUITES))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--json", type=Path, help="write all that the guests said")
    options = parser.parse_args()
    if reason := boots.lacking():
        print(f"skipped: {reason}")
        return 0
    said = {}
    with tempfile.TemporaryDirectory(prefix="butfor-matrix-") as scratch:
        image = Path(scratch) / "image.cpio"
        images.build(image)
        print(f"| {' | '.join(HEADS)} |\n{'|---' * len(HEADS)}|", flush=True)
        for kernel in kernels.fetched(options.suites.split(",")).values():
            name = kernel.name.removeprefix("vmlinuz-")
            said[name] = boots.booted(kernel, image, options.ways.split(","))
            print("\n".join(lines(name, said[name])), flush=True)
    if options.json:
        options.json.write_text(json.dumps(said, indent=1))
    return int(any(wrong(row) for rows in said.values() for row in rows))


def wrong(row):
    """A kernel that refuses a probe with a reason is an answer; nothing else is."""
    return "broken" in row or any(missing(probe, row) for probe in WANTED)


def missing(probe, row):
    """Events that an attached probe did not bring."""
    if row.get("probes", {}).get(probe) != "attached":
        return []
    return [event for event in WANTED[probe] if event not in row["events"]]


def lines(name, rows):
    """Of a table in Markdown, one row a way; a cell is `yes`, or why not."""
    return [f"| {name} | {row['way']} | {' | '.join(cells(row))} |" for row in rows]


def cells(row):
    """One per probe."""
    if "probes" not in row:
        return [f"no: {of(probe, row['why'])}" for probe in WANTED]
    return [cell(probe, row) for probe in WANTED]


def of(probe, why):
    """What a refusal of all probes says of one."""
    return why.split(f"{probe}: ")[-1].split(";")[0].split("attached: ")[-1]


def cell(probe, row):
    """`yes`, or what did not come, or why it is not attached."""
    state = row["probes"].get(probe, "")
    if state != "attached":
        return f"no: {state.split('attached: ')[-1]}"
    absent = missing(probe, row)
    return f"attached, but no {', '.join(absent)}" if absent else "yes"


if __name__ == "__main__":
    sys.exit(main())
