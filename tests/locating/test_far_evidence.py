"""Culprits whose lines stand on no stack: tables, state set up elsewhere, and what only failing requests send."""

from collections.abc import Iterable

from butfor.evidence.graphs import CausalGraph, Edge, Node, Slice
from butfor.evidence.suspects import Ranking
from butfor.evidence.timelines import Timelines
from butfor.locating import locate
from butfor.ports.repositories import Repository

from .conftest import Builder, code_graph, frame, line_of, timelines

SHIPPING = """import json
from pathlib import Path

RATES = json.loads(Path("rates.json").read_text())


def cost(zone, grams):
    return RATES[zone] * grams


def heavy(grams):
    return grams > 1000
"""
RATES = '{\n  "domestic": 1,\n  "atlantic": 3\n}\n'

CLIENT = """class Client:
    def __init__(self, base, limit=4):
        self._base, self._limit = base, limit

    def fetch(self, name):
        return ask(self._base + name, self._limit)
"""
SETTINGS = """def load(environment):
    return Values(
        base=environment.get("BASE", "x"),
        fetch_limit=float(environment.get("FETCH", "0.5")),
    )


def pages(environment):
    return Values(size=environment.get("SIZE", "10"))
"""
MAIN = """from client import Client
from settings import load


def start(environment):
    values = load(environment)
    return Client(values.base, values.fetch_limit)


def serve(client, name):
    return client.fetch(name)
"""

DESK = """def place(basket, notes):
    return send(basket)


def basket_of(body):
    lines = body["lines"]
    weight = body["weight"]
    return lines, weight
"""


def rank(builder: Builder, seen: Timelines, graph: CausalGraph, cut: Slice | None = None, without: str = "") -> Ranking:
    with Repository(builder.folder) as repository:
        good, bad = builder.shas["good"], builder.git("rev-parse", "HEAD")
        given = frozenset({without} - {""})
        return locate(graph, cut or Slice(), seen, repository, good, bad, without=given)


def names(ranking: Ranking) -> list[str]:
    return [suspect.subject for suspect in ranking.suspects]


def value(ranking: Ranking, subject: str, term: str) -> float:
    found = next(s for s in ranking.suspects if s.subject == subject)
    return next(t.value for t in found.features if t.name == term)


def missing_zone(builder: Builder, changed: dict[str, str | bytes | None]) -> Ranking:
    builder.commit_files("good", {"shipping.py": SHIPPING, "rates.json": RATES})
    builder.commit_files("zones", changed)
    builder.commit_files("heavy", {"shipping.py": SHIPPING.replace("> 1000", ">= 1000")})
    seen = timelines([frame("shipping.py", line_of(SHIPPING, "RATES[zone]"), "cost")], "KeyError", "'atlantic'")
    return rank(builder, seen, CausalGraph())


def test_a_row_that_a_table_lost_is_what_the_exception_misses(builder: Builder) -> None:
    ranking = missing_zone(builder, {"rates.json": RATES.replace('"atlantic": 3', '"north": 3')})
    assert names(ranking)[0] == "zones"
    assert value(ranking, "zones", "protection") > 0.5
    assert value(ranking, "heavy", "protection") == 0


def test_a_row_that_moved_to_another_table_is_not_missing(builder: Builder) -> None:
    moved = '{\n  "atlantic": 30\n}\n'
    ranking = missing_zone(builder, {"rates.json": '{\n  "domestic": 1\n}\n', "far.json": moved})
    assert value(ranking, "zones", "protection") == 0


def test_an_exception_of_another_sort_misses_nothing(builder: Builder) -> None:
    builder.commit_files("good", {"shipping.py": SHIPPING, "rates.json": RATES})
    builder.commit_files("zones", {"rates.json": RATES.replace('"atlantic": 3', '"north": 3')})
    seen = timelines([frame("shipping.py", 8, "cost")], "TimeoutError", "'atlantic' did not answer")
    assert value(rank(builder, seen, CausalGraph()), "zones", "protection") == 0


def with_state(builder: Builder, client: str = CLIENT) -> Ranking:
    files: dict[str, str | bytes | None] = {"client.py": client, "settings.py": SETTINGS, "main.py": MAIN}
    builder.commit_files("good", files)
    builder.commit_files("size", {"settings.py": SETTINGS.replace('"10"', '"20"')})
    both = SETTINGS.replace('"10"', '"20"').replace('"0.5"', '"0.05"')
    builder.commit_files("limit", {"settings.py": both})
    stack = [frame("main.py", line_of(MAIN, "client.fetch"), "serve"), frame("client.py", 6, "fetch")]
    return rank(builder, timelines(stack, "OSError", "too late"), CausalGraph())


def test_state_is_followed_to_where_its_values_are_made(builder: Builder) -> None:
    ranking = with_state(builder)
    assert names(ranking)[0] == "limit"
    assert value(ranking, "limit", "data_flow") > value(ranking, "size", "data_flow") + 0.1


def test_state_that_the_failing_line_does_not_use_is_not_followed(builder: Builder) -> None:
    ranking = with_state(builder, CLIENT.replace("ask(self._base + name, self._limit)", "ask(name, self.other)"))
    assert value(ranking, "limit", "data_flow") < 0.1


def with_notes() -> tuple[CausalGraph, Slice]:
    """A stack of one function, far from the request (many edges), and an input that only failing requests have."""
    graph = code_graph([frame("desk.py", 2, "place")] * 6)
    field = Node(
        id="input:body:$.weight=", kind="input", label="body:$.weight is 0", exogenous=True, unusual=1.0, value="0"
    )
    leads = Edge(source=field.id, target="code0", kind="data", evidence=["t/s"])
    grown = graph.model_copy(update={"nodes": [*graph.nodes, field], "edges": [*graph.edges, leads]})
    return grown, Slice(nodes=[field.id])


def ranked_with_notes(builder: Builder, cut: Iterable[str] = (), without: str = "") -> Ranking:
    graph, sliced = with_notes()
    builder.commit_files("good", {"desk.py": DESK})
    checked = DESK.replace('    weight = body["weight"]', '    weight = body["weight"] or None')
    builder.commit_files("weights", {"desk.py": checked})
    builder.commit_files("notes", {"desk.py": checked.replace("place(basket, notes)", "place(basket, notes=())")})
    seen = timelines([frame("desk.py", 2, "place")], "RuntimeError", "refused")
    return rank(builder, seen, graph, sliced.model_copy(update={"nodes": list(cut)}), without)


def test_what_only_failing_requests_send_points_at_the_commit_that_reads_it(builder: Builder) -> None:
    with_input = ranked_with_notes(builder, ["input:body:$.weight="])
    assert value(with_input, "weights", "divergence") > 0.2
    assert value(with_input, "notes", "divergence") < value(with_input, "weights", "divergence")


def test_an_input_says_less_where_the_slice_does_not_hold_it(builder: Builder) -> None:
    outside = ranked_with_notes(builder)
    graph, sliced = with_notes()
    seen = timelines([frame("desk.py", 2, "place")], "RuntimeError", "refused")
    inside = rank(builder, seen, graph, sliced)
    assert value(inside, "weights", "divergence") > 2 * value(outside, "weights", "divergence")
    assert value(rank(builder, seen, graph, sliced, "graph"), "weights", "divergence") == 0


def test_a_clue_cites_the_input_it_came_from(builder: Builder) -> None:
    ranking = ranked_with_notes(builder, ["input:body:$.weight="])
    cited = next(s for s in ranking.suspects if s.subject == "weights").features
    divergence = next(t for t in cited if t.name == "divergence")
    assert "input:body:$.weight=" in divergence.evidence


def ranked_with_input(builder: Builder, target: str, graph: CausalGraph, cut: Slice) -> Ranking:
    plain = "def handle(request):\n    return answer(request)\n\n\ndef tidy(text):\n    return text\n"
    builder.commit_files("good", {"app.py": plain})
    closing = plain.replace("    return text", '    return text.removesuffix("close")')
    builder.commit_files("close", {"app.py": closing})
    decoding = closing.replace("def tidy(text)", "def spell(raw):\n    return raw.decode()\n\n\ndef tidy(text)")
    builder.commit_files("decode", {"app.py": decoding})
    seen = timelines([frame("app.py", 2, "handle")], "RuntimeError", "refused", target=target)
    return rank(builder, seen, graph, cut)


def with_input(dimension: str, said: str) -> tuple[CausalGraph, Slice]:
    graph = code_graph([frame("app.py", 2, "handle")])
    field = Node(id=f"input:{dimension}", kind="input", label=dimension, exogenous=True, unusual=1.0, value=said)
    leads = Edge(source=field.id, target="code0", kind="data", evidence=["t/s"])
    grown = graph.model_copy(update={"nodes": [*graph.nodes, field], "edges": [*graph.edges, leads]})
    return grown, Slice(nodes=[field.id])


def test_what_a_query_field_says_points_at_code_that_says_it_too(builder: Builder) -> None:
    ranking = ranked_with_input(builder, "/item?mode=close", *with_input("query:mode=", "close"))
    assert value(ranking, "close", "divergence") > value(ranking, "decode", "divergence") + 0.1


def test_text_beyond_ascii_points_at_code_that_decodes(builder: Builder) -> None:
    ranking = ranked_with_input(builder, "/item", *with_input("body.form:name", "text beyond ASCII"))
    assert value(ranking, "decode", "divergence") > value(ranking, "close", "divergence") + 0.05
