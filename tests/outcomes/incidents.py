"""The incidents: what is planted, where a commit is to blame and where none is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .planted import CALLER, CALLER_SLOTS, INNOCENT, LOCAL, LOCAL_SLOTS, Case, changes, gets

BROKEN = {
    "answers_503": 'if name in ("EUR", "CHF"):\n    status, body = 503, {"error": "down"}',
    "closes": 'if name in ("EUR", "CHF"):\n    self.close_connection = True\n    return',
    "hangs": 'if name in ("EUR", "CHF"):\n    time.sleep(30)',
    "wrong_form": 'if name in ("EUR", "CHF"):\n    body = {"data": {"rate": 2}}',
}
TOUCHING = (
    *INNOCENT,
    ("Round totals", {"total": "round(total, 2)"}),
    ("Name the rate", {"call": "rate(name.upper())"}),
    ("Give up sooner", {"timeout": "2"}),
)
NEVER = {"outcome": "Dependency", "culprit": None}


def provider_down(how: str) -> Callable[[Path], Path]:
    """The provider fails for some currencies, at both revisions alike."""

    def make(folder: Path) -> Path:
        case = Case(folder)
        case.provider(BROKEN[how])
        case.web(changes(CALLER, {**CALLER_SLOTS, "timeout": "1.5"}, TOUCHING))
        load = {"healthy": gets("/price/USD", "/price/GBP", "/nothing"), "failing": gets("/price/EUR", "/price/CHF")}
        return case.write(load, NEVER, symptom={"service": "web"})

    return make


CASES: dict[str, Callable[[Path], Path]] = {f"provider_{how}": provider_down(how) for how in BROKEN}


def wrong_request(folder: Path) -> Path:
    """The provider refuses some requests *because* bad asks for another name: code is to blame."""
    case = Case(folder)
    case.provider('if name.islower():\n    status, body = 503, {"error": "down"}')
    steps = [*INNOCENT[:2], ("Ask by the short name", {"call": 'rate(name if name[0] < "M" else name.lower())'})]
    case.web(changes(CALLER, CALLER_SLOTS, [*steps, *TOUCHING[2:4], TOUCHING[5]]))
    load = {"healthy": gets("/price/EUR", "/price/GBP", "/nothing"), "failing": gets("/price/USD", "/price/SEK")}
    return case.write(load, {"outcome": "CodeChange", "culprit": case.shas["web"][3]}, symptom={"status": 500})


def header_dropped(folder: Path) -> Path:
    """The provider turns some requests away *because* bad leaves a header out, which no stub looks at."""
    case = Case(folder)
    case.provider('if name == "EUR" and not self.headers.get("X-Key"):\n    status, body = 503, {"error": "down"}')
    slots = {**CALLER_SLOTS, "headers": '{"X-Key": "1"}'}
    case.web(changes(CALLER, slots, [INNOCENT[0], ("Ask plainly", {"headers": "{}"}), *TOUCHING[2:4]]))
    load = {"healthy": gets("/price/USD", "/price/GBP", "/nothing"), "failing": gets("/price/EUR")}
    return case.write(load, {"outcome": "CodeChange", "culprit": case.shas["web"][2]}, symptom={"status": 500})


RETRYING = """
def patient(currency):
    for _ in range(2):
        try:
            return rate(currency)
        except OSError:
            continue
    return rate(currency)
"""


def retry_removed(folder: Path) -> Path:
    """The provider fails the first call for some currencies; good asks again, bad does not: code is to blame."""
    case = Case(folder)
    case.provider('if name in ("EUR", "CHF") and SEEN[name] == 1:\n    status, body = 503, {"error": "busy"}')
    slots = {**CALLER_SLOTS, "head": RETRYING, "call": "patient(name)"}
    steps = [*(INNOCENT[0], INNOCENT[2]), ("Simplify", {"call": "rate(name)"}), *TOUCHING[3:4], TOUCHING[5]]
    case.web(changes(CALLER, slots, steps))
    load = {"healthy": gets("/price/USD", "/price/GBP"), "failing": gets("/price/EUR", "/price/CHF")}
    return case.write(load, {"outcome": "CodeChange", "culprit": case.shas["web"][3]}, symptom={"status": 500})


def provider_flaky(folder: Path) -> Path:
    """The provider fails now and then, for nobody in particular, at both revisions."""
    case = Case(folder)
    case.provider('if random.random() < 0.15:\n    status, body = 503, {"error": "busy"}')
    case.web(changes(CALLER, CALLER_SLOTS, TOUCHING))
    load = {"healthy": gets("/price/USD", "/price/EUR", "/price/GBP"), "failing": [], "concurrency": 4, "repeat": 12}
    return case.write(load, NEVER, symptom={"status": 500})


OPENING = '    kept = [open(os.devnull) for _ in range({n} if name.startswith("big") else 4)]\n    return len(kept)'


def open_files(folder: Path) -> Path:
    """More files than the limit allows, for some reports, at both revisions."""
    case = Case(folder)
    steps = [*INNOCENT, ("Count from one", {"found": "found + 1"})]
    case.web(changes(LOCAL, {**LOCAL_SLOTS, "work": OPENING.format(n=60)}, steps), limits={"open_files": 40})
    load = {"healthy": gets("/report/a", "/report/b", "/nothing"), "failing": gets("/report/big1", "/report/big2")}
    return case.write(load, {"outcome": "Resource", "culprit": None}, symptom={"status": 500})


def open_files_more(folder: Path) -> Path:
    """The same limit, but a commit opens more files than before: code is to blame."""
    case = Case(folder)
    steps = [
        *INNOCENT[:2], ("Read every part", {"work": OPENING.format(n=60)}), INNOCENT[2],
        ("Count from one", {"found": "found + 1"}),
    ]  # fmt: skip
    case.web(changes(LOCAL, {**LOCAL_SLOTS, "work": OPENING.format(n=10)}, steps), limits={"open_files": 40})
    load = {"healthy": gets("/report/a", "/report/b", "/nothing"), "failing": gets("/report/big1", "/report/big2")}
    return case.write(load, {"outcome": "CodeChange", "culprit": case.shas["web"][3]}, symptom={"status": 500})


MEMORY = '    held = bytearray((300 << 20) if name.startswith("big") else 100)\n    return len(held)'
FILE = (
    '    path = os.path.join(os.environ["DATA"], "report")\n    with open(path, "wb") as file:\n'
    '        return file.write(b"x" * ((3 << 20) if name.startswith("big") else 100))'
)
THREADS = (
    '    gate = threading.Event()\n    count = 40 if name.startswith("big") else 2\n    made = []\n    try:\n'
    "        for _ in range(count):\n            made.append(threading.Thread(target=gate.wait, daemon=True))\n"
    "            made[-1].start()\n    finally:\n        gate.set()\n    return len(made)"
)


def limited(work: str, **keys: object) -> Callable[[Path], Path]:
    """Some reports need more than a limit allows, at both revisions."""

    def make(folder: Path) -> Path:
        case = Case(folder)
        case.web(changes(LOCAL, {**LOCAL_SLOTS, "work": work}, INNOCENT), **keys)
        load = {"healthy": gets("/report/a", "/report/b"), "failing": gets("/report/big1")}
        return case.write(load, {"outcome": "Resource", "culprit": None}, symptom={"status": 500})

    return make


SETTING = '    size = int(os.environ.get("PART_SIZE", "10"))\n    return 100 // size if name.startswith("big") else 1'


def configured(folder: Path) -> Path:
    """One of three variables that differ between good and bad is to blame; commits are innocent."""
    case = Case(folder)
    good = {"PART_SIZE": "5", "COLOUR": "red", "WORKERS": "2"}
    bad = {"PART_SIZE": "0", "COLOUR": "blue", "WORKERS": "4"}
    steps = [*INNOCENT, ("Count from one", {"found": "found + 1"})]
    case.web(
        changes(LOCAL, {**LOCAL_SLOTS, "work": SETTING}, steps), environment=bad, good_environment=good,
    )  # fmt: skip
    load = {"healthy": gets("/report/a", "/nothing"), "failing": gets("/report/big1", "/report/big2")}
    return case.write(load, {"outcome": "ConfigChange", "culprit": None}, symptom={"status": 500})


def same_code(folder: Path) -> Path:
    """Good and bad run the same commit; only a variable differs."""
    case = Case(folder)
    case.web(
        changes(LOCAL, {**LOCAL_SLOTS, "work": SETTING}, INNOCENT), environment={"PART_SIZE": "0"}, good_environment={},
    )  # fmt: skip
    case.services[0]["good"] = case.services[0]["bad"]
    load = {"healthy": gets("/report/a", "/nothing"), "failing": gets("/report/big1", "/report/big2")}
    return case.write(load, {"outcome": "ConfigChange", "culprit": None}, symptom={"status": 500})


def configured_beside(folder: Path) -> Path:
    """Variables differ too, but a commit is to blame."""
    case = Case(folder)
    broken = {"work": '    return 100 // (0 if name.startswith("big") else 1)'}
    steps = [*INNOCENT[:2], ("Divide", broken), INNOCENT[2], ("Count from one", {"found": "found + 1"})]
    case.web(
        changes(LOCAL, {**LOCAL_SLOTS, "work": SETTING}, steps),
        environment={"PART_SIZE": "4", "COLOUR": "red"}, good_environment={"PART_SIZE": "5"},
    )  # fmt: skip
    load = {"healthy": gets("/report/a", "/nothing"), "failing": gets("/report/big1", "/report/big2")}
    return case.write(load, {"outcome": "CodeChange", "culprit": case.shas["web"][3]}, symptom={"status": 500})


def read_by_a_commit(folder: Path) -> Path:
    """A commit begins to read a variable that is set wrongly at bad: with the same value good is well."""
    case = Case(folder)
    steps = [*INNOCENT[:2], ("Read the size of parts", {"work": SETTING}), INNOCENT[2]]
    case.web(
        changes(LOCAL, {**LOCAL_SLOTS, "work": "    return 100 // 5"}, steps),
        environment={"PART_SIZE": "0"}, good_environment={},
    )  # fmt: skip
    load = {"healthy": gets("/report/a", "/nothing"), "failing": gets("/report/big1", "/report/big2")}
    return case.write(load, {"outcome": "CodeChange", "culprit": case.shas["web"][3]}, symptom={"status": 500})


def broken_at_both(folder: Path) -> Path:
    """A defect that is older than good: nothing between them, and nothing beside the code, heals it."""
    case = Case(folder)
    case.provider("pass")
    case.web(changes(CALLER, {**CALLER_SLOTS, "call": 'rate(name) / (name != "EUR")'}, TOUCHING[:4]))
    load = {"healthy": gets("/price/USD", "/price/GBP"), "failing": gets("/price/EUR")}
    return case.write(load, {"outcome": "Inconclusive", "culprit": None}, symptom={"status": 500})


HOLDING = "    kept = [open(os.devnull) for _ in range(10)]\n    time.sleep(0.15)\n    return len(kept)"


def open_files_together(folder: Path) -> Path:
    """No request needs many files, but several at once do; failures come by themselves."""
    case = Case(folder)
    slots = {**LOCAL_SLOTS, "head": "import time", "work": HOLDING}
    case.web(changes(LOCAL, slots, [INNOCENT[0], INNOCENT[2]]), limits={"open_files": 50})
    load = {"healthy": gets("/report/a", "/report/b", "/nothing"), "failing": [], "concurrency": 8, "repeat": 12}
    return case.write(load, {"outcome": "Resource", "culprit": None}, symptom={"status": 500})


def provider_late(folder: Path) -> Path:
    """The provider takes its time for some currencies; what is asked for comes, but late."""
    case = Case(folder)
    case.provider('if name in ("EUR", "CHF"):\n    time.sleep(1.2)')
    case.web(changes(CALLER, CALLER_SLOTS, TOUCHING))
    load = {"healthy": gets("/price/USD", "/price/GBP", "/nothing"), "failing": gets("/price/EUR", "/price/CHF")}
    return case.write(load, NEVER, symptom={"service": "web", "latency_over_ms": 1000})


def provider_silent(folder: Path) -> Path:
    """The provider does not answer for some currencies, and the client gives up before the service does."""
    case = Case(folder)
    case.provider(BROKEN["hangs"])
    case.web(changes(CALLER, CALLER_SLOTS, TOUCHING[:4]))
    load = {"healthy": gets("/price/USD", "/price/GBP", "/nothing"), "failing": gets("/price/EUR", timeout=1)}
    return case.write(load, NEVER, symptom={"service": "web", "status": "timeout"})


CASES |= {
    "open_files_together": open_files_together, "provider_late": provider_late, "provider_silent": provider_silent,

    "wrong_request": wrong_request, "header_dropped": header_dropped, "retry_removed": retry_removed, "provider_flaky": provider_flaky,
    "open_files": open_files, "open_files_more": open_files_more,
    "memory": limited(MEMORY, limits={"memory_mb": 200}), "file_size": limited(FILE, limits={"file_mb": 1}),
    "threads": limited(THREADS, limits={"processes": 30}),
    "ulimit": limited(OPENING.format(n=60), run='ulimit -n 40; PYTHONPATH="$WORKTREE" exec python3 server.py'),
    "configured": configured, "same_code": same_code, "configured_beside": configured_beside,
    "read_by_a_commit": read_by_a_commit, "broken_at_both": broken_at_both,
}  # fmt: skip
