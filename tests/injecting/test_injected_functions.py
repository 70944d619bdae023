"""Which functions ran for a request: those of the service, in the order of their first calls, and no others."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from injected_services import SERVICES, plain

from butfor_inject import functions, raising
from butfor_inject.contexts import current
from butfor_inject.functions import Watcher

WATCHED = {"BUTFOR_FUNCTIONS": "1", "BUTFOR_SOURCE_ROOT": str(SERVICES)}
SERVERS = {
    "asgi": [sys.executable, "-m", "uvicorn", "asgi_app:app", "--port", "PORT"],
    "wsgi": [sys.executable, str(SERVICES / "wsgi_app.py"), "werkzeug", "PORT"],
}


class Served:
    """As much of an exchange as a watcher looks at."""

    def __init__(self, key="GET /"):
        self.key, self.functions, self.called, self.finished = key, None, 0, False


def outer():
    return inner()


def inner():
    return sorted([3, 1], key=lambda n: n)


def other():
    return 1


def served(watcher, work, exchange=None):
    exchange = exchange or Served()
    token = current.set(exchange)
    try:
        watcher.begin(exchange)
        work()
        watcher.end(exchange)
    finally:
        current.reset(token)
    return exchange


def names(exchange):
    return [name for _, _, name in functions.named(list((exchange.functions or {}).values()))]


@pytest.fixture
def watcher():
    if raising.tool is None:
        raising.watch_raises()
    return Watcher([str(SERVICES.parent)])


def ran(span):
    return [
        [name for _, _, name in json.loads(plain(event["attributes"])["butfor.frames"])]
        for event in span.get("events", [])
        if event["name"] == "butfor.functions"
    ]


@pytest.mark.parametrize(("server", "path", "wanted"), [
    ("asgi", "/failing/1", ["failing"]), ("asgi", "/busy", ["busy"]), ("wsgi", "/failing/1", ["failing"]),
    ("wsgi", "/swallowing", ["swallowing", "page"]),
])  # fmt: skip
def test_a_request_knows_the_functions_that_ran_for_it(start, server, path, wanted):
    service = start(SERVERS[server], WATCHED)
    service.get(path)
    service.spool.settle(path)
    [found] = ran(service.spool.span(path))
    assert [name for name in found if name in wanted] == wanted
    assert "index" not in found


def test_nothing_is_looked_at_where_nobody_asked(start):
    service = start(SERVERS["wsgi"])
    service.spool.settle("/")
    assert not any(ran(span) for span in service.spool.spans())


def test_only_what_runs_between_begin_and_end_and_for_this_request(watcher):
    other()
    first = served(watcher, outer)
    other()
    assert names(first) == ["outer", "inner"]
    assert names(served(watcher, other)) == ["other"]


def test_work_in_a_pool_belongs_to_the_request(watcher):
    def work(exchange):
        def there():
            token = current.set(exchange)
            followed = watcher.follow(exchange)
            try:
                return outer()
            finally:
                if followed:
                    sys.setprofile(None)
                current.reset(token)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(there).result()

    exchange = Served()
    assert {"outer", "inner"} <= set(names(served(watcher, lambda: work(exchange), exchange)))


def test_a_request_that_calls_without_end_is_let_go(watcher, monkeypatch):
    monkeypatch.setattr(functions, "EVENTS", 50)
    exchange = served(watcher, lambda: [other() for _ in range(100)] and outer())
    assert "other" in names(exchange)
    assert "outer" not in names(exchange)


def test_later_requests_of_a_path_are_looked_at_now_and_then(watcher, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(functions.time, "monotonic", lambda: now[0])
    looked = [bool(names(served(watcher, other))) for _ in range(functions.PER_KEY + 2)]
    assert looked == [True] * functions.PER_KEY + [False] * 2
    assert names(served(watcher, other, Served("GET /else"))) == ["other"]
    now[0] += functions.INTERVAL_S
    assert names(served(watcher, other)) == ["other"]


@pytest.mark.parametrize("what", ["another request begins", "something runs on"])
def test_a_request_that_never_ends_is_let_go(watcher, monkeypatch, what):
    now = [0.0]
    monkeypatch.setattr(functions.time, "monotonic", lambda: now[0])
    endless, ended, switched = Served(), Served(), []
    watcher.begin(endless)
    monkeypatch.setattr(watcher, "_switch", lambda *, on: switched.append(on) or Watcher._switch(watcher, on=on))
    now[0] += functions.LONGEST_S / 2
    watcher.begin(ended)
    watcher.end(ended)
    assert switched == [True]
    now[0] += functions.LONGEST_S
    if what == "something runs on":
        for _ in range(2 * functions.CHECK):
            other()
    else:
        watcher.end(Served())
        served(watcher, other)
    assert switched[-1] is False
    assert sys.getprofile() is None


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="events are no profile function")
def test_another_profiler_stays():
    seen = []

    def profiler(frame, event, argument):
        seen.append(event)

    sys.setprofile(profiler)
    try:
        exchange = served(Watcher([]), other)
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert exchange.functions is None
    assert seen


def test_nothing_is_left_on(watcher):
    served(watcher, outer)
    assert sys.getprofile() is None
