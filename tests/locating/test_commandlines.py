"""The options that a service was started with point at code where nothing tells failing from healthy requests."""

from dataclasses import replace

import pytest

from butfor.evidence.bundles import Bundle, CapturedService, Manifest
from butfor.evidence.graphs import CausalGraph, Slice
from butfor.evidence.timelines import Timelines
from butfor.locating import locate
from butfor.locating.commandlines import options

from .conftest import timelines

NOTHING = {"healthy": ("/item",)}
COMMAND = ["/usr/bin/python", "-m", "shop", "--page-size=20", "--set", "max_items", "/srv/data/shop_1.db", "-p", "8000"]


def started(seen: Timelines, *services: CapturedService) -> Timelines:
    bundle = Bundle(path=seen.telemetry.bundle.path, manifest=Manifest(start_ns=1, end_ns=2, services=list(services)))
    return replace(seen, telemetry=replace(seen.telemetry, bundle=bundle))


def service(name: str = "web", command: list[str] | None = None) -> CapturedService:
    return CapturedService(name=name, command=COMMAND if command is None else command)


def test_options_and_settings_are_words_and_paths_values_and_modules_are_not():
    words = [word for word, _ in options(started(timelines(), service()))]
    assert words == ["page_size", "page", "size", "set", "max_items"]


def test_options_of_a_service_that_did_not_fail_say_nothing():
    assert not list(options(started(timelines(), service("other"))))


@pytest.mark.parametrize("command", [[], ["python"], ["python", "-"], ["python", "--"], ["python", "-" * 10**6]])
def test_a_command_line_may_hold_anything(command):
    assert not list(options(started(timelines(), service(command=command))))


def test_a_bundle_without_manifest_has_no_options():
    assert not list(options(timelines()))


def _range(builder) -> str:
    """Two commits of the same size: one reads an option, the later one another; the revision before them."""
    good = builder.commit("base", cli_py="def serve():\n    return 1\n", other_py="def run():\n    return 1\n")
    builder.commit("reads", cli_py="def serve():\n    return page_size\n")
    builder.commit("later", other_py="def run():\n    return colour\n")
    return good


def _ranked(builder, opened, seen: Timelines) -> list[str]:
    ranking = locate(CausalGraph(), Slice(), seen, opened, _range(builder), "HEAD")
    return [suspect.subject for suspect in ranking.suspects]


def _alike() -> Timelines:
    """A failing request that nothing tells from a healthy one."""
    seen = timelines(**NOTHING)
    requests = [request.model_copy(update={"status": 200}) for request in seen.requests]
    return replace(seen, requests=requests, predicate=None)


def test_where_nothing_else_speaks_the_commit_that_reads_an_option_in_use_is_first(builder, opened):
    assert _ranked(builder, opened, started(_alike(), service())) == ["reads", "later"]


def test_what_differs_comes_before_what_was_set(builder, opened):
    seen = started(timelines(target="/colour"), service())
    assert _ranked(builder, opened, seen) == ["later", "reads"]


def test_without_traces_options_say_nothing(builder, opened):
    seen = started(_alike(), service())
    with_traces = locate(CausalGraph(), Slice(), seen, opened, _range(builder), "HEAD")
    without = locate(
        CausalGraph(), Slice(), seen, opened, with_traces.good, "HEAD", without=frozenset({"traces"})
    )  # fmt: skip
    assert [s.score for s in with_traces.suspects] != [s.score for s in without.suspects]
