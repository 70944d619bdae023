"""What the ranking must get right, each on a history made for it."""

from dataclasses import replace

import pytest

from butfor.errors import UserError
from butfor.evidence.graphs import CausalGraph, Divergence, Node, Slice
from butfor.evidence.suspects import Ranking
from butfor.evidence.timelines import StackSample, Timelines
from butfor.locating import locate
from butfor.ports.repositories import Repository

from .conftest import Builder, code_graph, frame, line_of, timelines

VIEW = """def handler(request):
    item = find(request)
    return item["title"]


def find(request):
    items = {"a": {"title": "x"}}
    return items.get(request, {"title": ""})


def other(request):
    return 1
"""

SENDER = """class Sender:
    def __init__(self, path):
        self.path = path

    def send(self):
        return self.path.read_bytes()
"""
MAKER = """from sender import Sender


def route(path):
    if not path.is_file():
        raise LookupError
    return Sender(path)


def ping():
    return 1
"""
SERVING = "def serve(response):\n    return response.send()\n"
CLIENT = """import settings


def charge(order):
    limit = settings.CHARGE_LIMIT
    return wait(order, limit)


def wait(order, limit):
    raise TimeoutError(limit)
"""


def rank(
    builder: Builder, seen: Timelines, graph: CausalGraph | None = None, without: frozenset[str] = frozenset()
) -> Ranking:
    with Repository(builder.folder) as repository:
        good, bad = builder.shas["good"], builder.git("rev-parse", "HEAD")
        return locate(graph or CausalGraph(), Slice(), seen, repository, good, bad, without=without)


def first(ranking: Ranking) -> str:
    return ranking.suspects[0].subject


def raised(text: str, *places: tuple[str, str], path: str = "app.py", **more: str) -> Timelines:
    frames = [frame(path, line_of(text, fragment), function) for fragment, function in places]
    return timelines(frames, **more)


def test_the_commit_that_wrote_the_raising_line_is_first(builder: Builder) -> None:
    builder.commit("good", app_py=VIEW)
    builder.commit("other", app_py=VIEW.replace("return 1", "return 2"))
    culprit = VIEW.replace("return 1", "return 2").replace("items.get(request, {'title': ''})", "")
    culprit = culprit.replace('items.get(request, {"title": ""})', "items[request]")
    builder.commit("look it up", app_py=culprit)
    builder.commit("docs", README_md="read me")
    ranking = rank(builder, raised(culprit, ("item = find", "handler"), ("items[request]", "find")))
    assert first(ranking) == "look it up"
    assert ranking.functions[0].name == "app.find"
    assert (ranking.functions[0].file, ranking.functions[0].line) == ("app.py", line_of(culprit, "def find"))


def test_a_reformatting_commit_is_seen_through(builder: Builder) -> None:
    builder.commit("good", app_py=VIEW)
    bad = VIEW.replace('items.get(request, {"title": ""})', "items[request]")
    builder.commit("look it up", app_py=bad)
    styled = bad.replace("    return items[request]", "    return items[\n        request  # the key\n    ]")
    styled = styled.replace('"', "'")
    builder.commit("reformat", app_py=styled)
    ranking = rank(builder, raised(styled, ("item = find", "handler"), ("return items[", "find")))
    assert first(ranking) == "look it up"
    reformat = next(s for s in ranking.suspects if s.subject == "reformat")
    assert {t.name: t.value for t in reformat.features}["substance"] == 0


def test_a_removed_check_off_the_stack_is_found(builder: Builder) -> None:
    builder.commit("good", sender_py=SENDER, maker_py=MAKER, serving_py=SERVING)
    builder.commit("ping more", maker_py=MAKER.replace("return 1", "return 2"))
    gone = MAKER.replace("    if not path.is_file():\n        raise LookupError\n", "").replace("return 1", "return 2")
    builder.commit("simplify", maker_py=gone)
    builder.commit("serve twice", serving_py=SERVING + "\n\ndef twice():\n    return 2\n")
    seen = timelines(
        [frame("serving.py", 2, "serve"), frame("sender.py", 6, "send")], "FileNotFoundError", "No such file: 'x'"
    )
    ranking = rank(builder, seen)
    assert first(ranking) == "simplify"
    assert {t.name: t.value for t in ranking.suspects[0].features}["protection"] > 0.2


def test_a_changed_default_is_reached_through_the_name_that_flows(builder: Builder) -> None:
    settings = "RETRIES = 3\nCHARGE_LIMIT = 0.5\nPAGE = 10\n"
    builder.commit("good", client_py=CLIENT, settings_py=settings)
    builder.commit("page", settings_py=settings.replace("10", "20"))
    builder.commit("tune", settings_py=settings.replace("10", "20").replace("0.5", "0.05"))
    builder.commit("retries", settings_py=settings.replace("10", "20").replace("0.5", "0.05").replace("3", "4"))
    seen = raised(
        CLIENT, ("return wait", "charge"), ("raise TimeoutError", "wait"), path="client.py", kind="TimeoutError"
    )
    assert first(rank(builder, seen)) == "tune"


def test_sampled_stacks_stand_in_for_a_traceback(builder: Builder) -> None:
    fast = "def parse(data):\n    return data.find(b'x')\n\n\ndef other(data):\n    return 1\n"
    slow = "def parse(data):\n    return [c for c in data if c in data]\n\n\ndef other(data):\n    return 1\n"
    builder.commit("good", app_py=fast)
    builder.commit("rewrite", app_py=slow)
    builder.commit("other", app_py=slow.replace("return 1", "return 2"))
    sample = StackSample(span="t/s", frames=[frame("app.py", 2, "parse")], count=90)
    ranking = rank(builder, timelines(samples=[sample]))
    assert first(ranking) == "rewrite"
    assert any(e.startswith("samples:") for e in ranking.suspects[0].evidence)


def test_without_a_stack_what_only_failing_requests_have_decides(builder: Builder) -> None:
    text = (
        "def route(path):\n    return path\n\n\ndef invoices(path):\n    return 1\n\n\ndef pages(path):\n    return 2\n"
    )
    builder.commit("good", app_py=text)
    changed = text.replace("    return 1", "    export = path.partition('/')\n    return export")
    builder.commit("rework exports", app_py=changed)
    builder.commit(
        "rework pages", app_py=changed.replace("return 2", "number = path.rpartition('/')\n    return number")
    )
    ranking = rank(builder, timelines(target="/export", healthy=("/number", "/path")))
    assert first(ranking) == "rework exports"
    assert any("no stack" in note for note in ranking.notes)


def test_a_moved_file_keeps_its_history(builder: Builder) -> None:
    bad = VIEW.replace('items.get(request, {"title": ""})', "items[request]")
    builder.commit("good", old__app_py=VIEW)
    builder.commit("look it up", old__app_py=bad)
    builder.commit("move", old__app_py=None, new__app_py=bad)
    ranking = rank(builder, raised(bad, ("item = find", "handler"), ("items[request]", "find"), path="new/app.py"))
    assert first(ranking) == "look it up"


def test_a_merge_is_not_blamed_for_what_it_brings(builder: Builder) -> None:
    builder.commit("good", app_py=VIEW)
    builder.git("checkout", "--quiet", "-b", "side")
    bad = VIEW.replace('items.get(request, {"title": ""})', "items[request]")
    builder.commit("look it up", app_py=bad)
    builder.git("checkout", "--quiet", "main")
    builder.commit("docs", README_md="read me")
    builder.git("merge", "--quiet", "--no-ff", "-m", "merge side", "side")
    ranking = rank(builder, raised(bad, ("item = find", "handler"), ("items[request]", "find")))
    assert first(ranking) == "look it up"
    assert ranking.candidates == 3
    merge = next(s for s in ranking.suspects if s.subject == "merge side")
    assert all(t.value == 0 for t in merge.features)


def test_probabilities_sum_to_one_and_none_is_zero(builder: Builder) -> None:
    builder.commit("good", app_py=VIEW)
    bad = VIEW.replace('items.get(request, {"title": ""})', "items[request]")
    builder.commit("look it up", app_py=bad)
    builder.commit("docs", README_md="read me")
    builder.commit("empty")
    ranking = rank(builder, raised(bad, ("items[request]", "find")))
    assert sum(s.probability for s in ranking.suspects) == pytest.approx(1.0)
    assert min(s.probability for s in ranking.suspects) > 0
    assert ranking.suspects == sorted(ranking.suspects, key=lambda s: -s.score)
    for suspect in ranking.suspects:
        assert suspect.score == pytest.approx(sum(t.weight * t.value for t in suspect.features), abs=1e-4)


def broken(builder: Builder) -> str:
    builder.commit("good", app_py=VIEW)
    bad = VIEW.replace('items.get(request, {"title": ""})', "items[request]")
    builder.commit("look it up", app_py=bad)
    builder.commit("other", app_py=bad.replace("return 1", "return 2"))
    return bad


def test_deleting_a_cited_edge_changes_the_suspects_terms(builder: Builder) -> None:
    bad = broken(builder)
    places = [("item = find", "handler"), ("items[request]", "find")]
    seen = raised(bad, *places)
    frames = seen.requests[0].exceptions[0].frames
    whole, cut = (rank(builder, seen, code_graph(frames, edges=e)).suspects[0] for e in (True, False))
    cited = [e for t in whole.features for e in t.evidence if e.startswith("edge:")]
    assert "edge:code1->failure" in cited
    terms = {t.name: (t.value, c.value) for t, c in zip(whole.features, cut.features, strict=True)}
    assert terms["stack_hits"][0] > terms["stack_hits"][1]
    assert terms["critical_path_overlap"][0] > terms["critical_path_overlap"][1]


@pytest.mark.parametrize(
    ("source", "term"), [("history", "stack_hits"), ("history", "novelty"), ("traces", "critical_path_overlap")]
)
def test_a_source_that_is_left_out_is_not_used(builder: Builder, source: str, term: str) -> None:
    seen = raised(broken(builder), ("items[request]", "find"))
    values = [
        {
            t.name: t.value
            for t in next(s for s in rank(builder, seen, without=w).suspects if s.subject == "look it up").features
        }
        for w in (frozenset[str](), frozenset({source}))
    ]
    assert values[0][term] > 0
    assert values[1][term] == 0


def test_divergent_nodes_of_the_graph_point_at_what_defines_their_words(builder: Builder) -> None:
    builder.commit("good", app_py="SPREAD = 1\nMARGIN = 2\n", use_py="def a():\n    return 1\n")
    builder.commit("margin", app_py="SPREAD = 1\nMARGIN = 3\n")
    builder.commit("spread", app_py="SPREAD = 5\nMARGIN = 3\n")
    builder.commit("use", use_py="def a():\n    return 2\n")
    graph = code_graph([]).model_copy(
        update={"divergence": [Divergence(node="n", detail="spread", healthy_traces=9, share_of_healthy=0.0)]}
    )
    node = Node(id="n", kind="config", label="SPREAD", exogenous=True, value="5", healthy_value="1", unusual=1.0)
    edge = code_graph([frame("x.py", 1, "f")]).edges[0].model_copy(update={"source": "n"})
    graph = graph.model_copy(update={"nodes": [*graph.nodes, node], "edges": [edge]})
    ranking = rank(builder, timelines(), graph)
    assert first(ranking) == "spread"
    assert "n" in ranking.suspects[0].evidence
    assert first(rank(builder, timelines(), graph, frozenset({"graph"}))) != "spread"


def test_an_empty_range_is_a_clear_error(builder: Builder) -> None:
    builder.commit("good", app_py=VIEW)
    with pytest.raises(UserError, match="holds no commits"):
        rank(builder, timelines())


def test_hostile_files_do_not_stop_the_ranking(builder: Builder) -> None:
    builder.commit("good", app_py=VIEW)
    builder.commit_files(
        "odd", {"a b\té.py": "def f(:\n", "nul.py": b"x = 1\0\n", "deep.py": "(" * 3000, "empty.py": ""}
    )
    builder.commit_files("old python", {"app.py": "print 'x'\n", "b.bin": bytes(range(256))})
    ranking = rank(builder, timelines([frame("app.py", 99, "f"), frame("gone.py", 1, "g")]))
    assert ranking.candidates == 2


def test_without_a_stack_the_route_leads_to_its_handler_and_on_to_what_it_calls(builder: Builder) -> None:
    web = """from stock import count, price


def index(request):
    return 1


def shelf(request):
    return count(request)


ROUTES = [("/", index), ("/shelf/{id}", shelf), ("/price/{id}", price)]
"""
    stock = "def count(request):\n    return weigh(1)\n\n\ndef weigh(n):\n    return n\n"
    stock += "\n\ndef price(request):\n    return 3\n"
    builder.commit("good", web_py=web, stock_py=stock)
    builder.commit("weigh", stock_py=stock.replace("return n", "return n + 1"))
    builder.commit("price", stock_py=stock.replace("return n", "return n + 1").replace("return 3", "return 4 + 1"))
    ranking = rank(builder, timelines(target="/shelf/{id}", healthy=("/", "/price/{id}")))
    assert first(ranking) == "weigh"


WAITING = """class Relay:
    async def __call__(self, receive):
        async def body():
            while True:
                message = await receive()
                if not message.more:
                    break
                yield message

        return await self.wait(body)

    async def wait(self, body):
        return await body.stop.wait()


def other():
    return 1
"""


def test_a_request_that_never_ends_is_sought_beside_where_it_waits(builder: Builder) -> None:
    builder.commit("good", app_py=WAITING)
    bad = WAITING.replace("                if not message.more:\n                    break\n", "")
    builder.commit("simplify", app_py=bad)
    bad = bad.replace("return 1", "return 2")
    builder.commit("other", app_py=bad)
    frames = [
        frame("app.py", line_of(bad, "return await self"), "Relay.__call__"),
        frame("app.py", line_of(bad, "stop.wait"), "Relay.wait"),
        frame("/lib/asyncio/locks.py", 213, "Event.wait").model_copy(update={"in_repository": False}),
    ]
    seen = timelines(samples=[StackSample(span="t/s", frames=frames, count=90)])
    assert seen.predicate is not None
    predicate = seen.predicate.model_copy(update={"ended": "timeout", "status": None})
    ranking = rank(builder, replace(seen, predicate=predicate))
    assert first(ranking) == "simplify"
    terms = {t.name: t for t in ranking.suspects[0].features}
    assert "no longer leaves here" in terms["protection"].detail
    assert terms["critical_path_overlap"].value > 0


def test_a_statement_that_only_moved_into_a_helper_keeps_its_history(builder: Builder) -> None:
    bad = VIEW.replace('items.get(request, {"title": ""})', "items[request]")
    builder.commit("good", app_py=VIEW)
    builder.commit("look it up", app_py=bad)
    helped = bad.replace("    return items[request]\n", "    return pick(items, request)\n")
    helped += "\n\ndef pick(items, request):\n    return items[request], None\n"
    builder.commit("extract", app_py=helped)
    seen = raised(helped, ("return pick", "find"), ("items[request], None", "pick"))
    values = {s.subject: {t.name: t.value for t in s.features} for s in rank(builder, seen).suspects}
    assert values["look it up"]["stack_hits"] > values["extract"]["stack_hits"]


def test_where_nothing_raised_the_probabilities_are_flatter(builder: Builder) -> None:
    bad = broken(builder)
    raising = rank(builder, raised(bad, ("items[request]", "find")))
    inside = frame("app.py", line_of(bad, "items[request]"), "find")
    outside = frame("/lib/threading.py", 327, "wait").model_copy(update={"in_repository": False})
    waiting = rank(builder, timelines(samples=[StackSample(span="t/s", frames=[inside, outside], count=50)]))
    assert first(raising) == first(waiting) == "look it up"
    assert raising.suspects[0].probability > waiting.suspects[0].probability


def test_weak_reasons_do_not_add_up_with_size(builder: Builder) -> None:
    view = VIEW.replace('items.get(request, {"title": ""})', "items[request]")
    far = "".join(f"\n\ndef far{n}(a):\n    if a:\n        return {n}\n    return a\n" for n in range(40))
    builder.commit("good", app_py=VIEW + far)
    builder.commit("look it up", app_py=view + far)
    rework = far.replace("    if a:\n        return", "    b =")
    builder.commit("rework", app_py=view + rework)
    seen = raised(view + rework, ("items[request]", "find"))
    assert first(rank(builder, seen)) == "look it up"
    values = {t.name: t.value for s in rank(builder, seen).suspects if s.subject == "rework" for t in s.features}
    assert values["critical_path_overlap"] < 0.3
    assert values["protection"] < 0.3


def test_what_the_subject_says_counts_like_a_mention(builder: Builder) -> None:
    builder.commit("good", app_py="def a():\n    return 1\n\n\ndef b():\n    return 1\n")
    builder.commit("handle keepalive", app_py="def a():\n    return 2\n\n\ndef b():\n    return 1\n")
    builder.commit("handle pages", app_py="def a():\n    return 2\n\n\ndef b():\n    return 2\n")
    builder.commit("docs of keepalive", README_md="x")
    ranking = rank(builder, timelines(target="/keepalive", healthy=("/pages",)))
    assert first(ranking) == "handle keepalive"
    values = {s.subject: s.features[2].value for s in ranking.suspects}
    assert values["docs of keepalive"] == 0


ROUTED = """def pages(app):
    app.add("/export", export)


def export(request):
    return 1


def far(request):
    return 1
"""


def test_without_traces_no_route_leads_to_code(builder: Builder) -> None:
    builder.commit("good", app_py=ROUTED)
    builder.commit("export", app_py=ROUTED.replace("    return 1\n", "    return 2\n", 1))
    builder.commit("far", app_py=ROUTED.replace("return 1", "return 2"))
    seen = timelines(target="/export", healthy=("/other",))
    near = [
        {s.subject: {t.name: t.value for t in s.features} for s in rank(builder, seen, without=w).suspects}["export"]
        for w in (frozenset[str](), frozenset({"traces"}))
    ]
    assert near[0]["critical_path_overlap"] > 0
    assert near[1]["critical_path_overlap"] == 0


def test_a_renamed_function_keeps_its_history(builder: Builder) -> None:
    builder.commit("good", app_py=VIEW)
    bad = VIEW.replace('items.get(request, {"title": ""})', "items[request]")
    builder.commit("look it up", app_py=bad)
    named = bad.replace("def find", "def item_of").replace("find(request)", "item_of(request)")
    named = named.replace('{"a": {"title": "x"}}', '{"a": {"title": "x"}, "b": {"title": "y"}}')
    builder.commit("name it", app_py=named)
    seen = raised(named, ("item = item_of", "handler"), ("items[request]", "item_of"))
    ranking = rank(builder, seen)
    assert first(ranking) == "look it up"
    hits = {s.subject: next(t.value for t in s.features if t.name == "stack_hits") for s in ranking.suspects}
    assert hits["name it"] < 0.3  # calling it by its new name is nothing new
