from __future__ import annotations

import random
from itertools import pairwise

import networkx as nx
import pytest
from handmade_timelines import Story, frame, raised
from hypothesis import given, settings
from hypothesis import strategies as st

from butfor.evidence.graphs import CausalGraph, Edge, Node, Prediction, Slice
from butfor.graphing import graph
from butfor.shaping import shape
from butfor.slicing import settle, slice_graph
from butfor.slicing.slices import DIFFERS


def cut_of(story: Story, **more) -> Slice:
    timelines = story.timelines()
    return slice_graph(graph(timelines, shape(timelines), **more))


def prediction(cut: Slice, start: str) -> Prediction:
    return next(p for p in cut.predictions if p.node.startswith(start))


def kinds(cut: Slice) -> list[str]:
    return [id_.partition(":")[0] for id_ in cut.nodes]


def checkout(kind: str, *, ended: str = "", answered_ms: float | None = None, status: str = "200") -> Story:
    """Ten healthy requests and a failing one whose call to another service ends in the given way."""
    story = Story()
    frames = [frame("shop/checkout.py", 12, "buy"), frame("shop/clients.py", 30, "charge")]
    for number in range(11):
        failed, base = number == 0, number * 1000
        revision = {"vcs.ref.head.revision": "b" * 40}
        root = story.span(number + 1, 1, 0, "POST", kind="SERVER", start=base, ms=60, resource=revision,
                          status="ERROR" if failed else "UNSET", http__route="/buy",
                          http__request__method="POST")  # fmt: skip
        call = story.span(number + 1, 2, 1, "POST", kind="CLIENT", start=base + 5, ms=50 if failed else 20,
                          status="ERROR" if failed else "UNSET", http__request__method="POST",
                          url__full="http://pay/charge", server__address="pay",
                          http__response__status_code=status if failed else "200")  # fmt: skip
        story.payload(call, role="client", target="/charge", ended=ended or None if failed else None,
                      status=None if failed and ended else int(status) if failed else 200)  # fmt: skip
        if answered_ms is not None:
            story.span(number + 1, 3, 2, "POST", kind="SERVER", service="payment", start=base + 6,
                       ms=answered_ms if failed else 15, http__route="/charge", http__request__method="POST",
                       resource={"vcs.ref.head.revision": "c" * 40})  # fmt: skip
        story.request(root, failed=failed, method="POST", ms=60, start=base,
                      exceptions=[raised(call, kind, frames=frames)] if failed else [])  # fmt: skip
    return story


@pytest.mark.parametrize(
    ("kind", "status"),
    [("ConnectionRefusedError", "200"), ("httpx.HTTPStatusError", "503"), ("ConnectionResetError", "200")],
)
def test_a_downstream_that_failed_by_itself_is_on_the_slice_and_first(kind, status):
    cut = cut_of(checkout(kind, status=status))
    assert kinds(cut) == ["downstream", "code_change"]
    assert cut.predictions[0].outcome == "Dependency"
    assert "by itself" in cut.predictions[0].reason


def test_a_slow_downstream_with_a_local_timeout_needs_both():
    cut = cut_of(checkout("httpx.ReadTimeout", ended="timeout", answered_ms=80))
    assert {"downstream:payment/CLIENT/POST /charge", "code_change:shop"} <= set(cut.nodes)
    assert "gave up after 0.05 s" in prediction(cut, "downstream").reason
    assert cut.nodes.index("code_change:shop") < cut.nodes.index("downstream:payment/CLIENT/POST /charge")


def test_a_downstream_that_answers_as_ever_is_not_on_the_slice():
    story = checkout("KeyError")
    for span in story.spans:
        if span["kind"] == "CLIENT":
            span["status"], span["end_ns"] = "UNSET", span["start_ns"] + 20_000_000
    assert kinds(cut_of(story)) == ["code_change"]


def test_a_service_whose_part_is_as_ever_is_not_under_suspicion():
    cut = cut_of(checkout("KeyError", answered_ms=15))
    assert "code_change:shop" in cut.nodes
    assert "code_change:payment" not in cut.nodes


def test_a_slower_service_below_is_under_suspicion_as_well():
    cut = cut_of(checkout("httpx.ReadTimeout", ended="timeout", answered_ms=80))
    assert "code_change:payment" in cut.nodes


def test_a_reached_limit_is_predicted_to_heal_when_lifted():
    story = Story()
    root = story.span(1, 1, kind="SERVER")
    story.request(root, failed=True, exceptions=[raised(root, "OSError", message="[Errno 24] Too many open files")])
    cut = cut_of(story)
    assert prediction(cut, "resource").outcome == "Resource"
    assert prediction(cut, "resource").intervention == "lift open files (RLIMIT_NOFILE)"
    assert prediction(cut, "code_change").confirmed is None


def test_of_correlated_inputs_only_the_trigger_is_on_the_slice():
    story = Story()
    for number in range(5):
        failed = number == 0
        root = story.span(number + 1, 1, kind="SERVER", start=number)
        payload = story.payload(root, target="/buy?a=1&b=2" if failed else "/buy")
        story.request(root, failed=failed, start=number, payload=payload)
    cut = cut_of(story)
    assert [id_ for id_ in cut.nodes if id_.startswith("input")] == ["input:query:a"]
    assert "not why" in prediction(cut, "input").reason


def test_a_flag_is_a_configuration_change():
    story = Story()
    for number in range(4):
        root = story.span(number + 1, 1, kind="SERVER", start=number, feature_flag__key="fast",
                          feature_flag__variant="on" if number == 0 else "off")  # fmt: skip
        for span in story.spans:
            span["attributes"] = [(k.replace("feature.flag", "feature_flag"), v) for k, v in span["attributes"]]
        story.request(root, failed=number == 0, start=number)
    flag = prediction(cut_of(story), "flag")
    assert (flag.outcome, flag.intervention) == ("ConfigChange", "set flag fast to off")


def test_without_traces_code_is_what_is_left():
    assert kinds(cut_of(checkout("ConnectionRefusedError"), without=frozenset({"traces"}))) == ["code_change"]


@pytest.mark.parametrize("without", [frozenset({"graph"}), frozenset({"graph", "traces"})])
def test_without_graph_there_is_no_slice(without):
    assert cut_of(checkout("ConnectionRefusedError"), without=without) == Slice()


def test_an_empty_graph_has_an_empty_slice():
    assert slice_graph(CausalGraph()) == Slice()


def test_every_prediction_cites_evidence():
    cut = cut_of(checkout("ConnectionRefusedError", answered_ms=80))
    assert all(p.evidence for p in cut.predictions)
    assert [p.node for p in cut.predictions] == cut.nodes


def test_a_cycle_does_not_hang():
    nodes = [node("failure", "failure"), node("a", "span"), node("b", "span"), node("x", "resource", exogenous=True)]
    edges = [edge("a", "b"), edge("b", "a"), edge("a", "failure"), edge("x", "b"), edge("a", "a")]
    assert slice_graph(CausalGraph(nodes=nodes, edges=edges, failure="failure")).nodes == ["x"]


def test_a_path_goes_through_what_is_unusual():
    nodes = [node("failure", "failure"), node("usual", "span", unusual=0.0), node("odd", "span"),
             node("x", "resource", exogenous=True)]  # fmt: skip
    edges = [edge("x", "usual"), edge("x", "odd"), edge("usual", "failure"), edge("odd", "failure")]
    assert slice_graph(CausalGraph(nodes=nodes, edges=edges, failure="failure")).paths == [["x", "odd", "failure"]]


def test_an_exogenous_node_behind_another_is_covered_by_it():
    nodes = [
        node("failure", "failure"),
        node("near", "resource", exogenous=True),
        node("far", "config", exogenous=True),
    ]
    edges = [edge("far", "near"), edge("near", "failure")]
    assert slice_graph(CausalGraph(nodes=nodes, edges=edges, failure="failure")).nodes == ["near"]


def node(id_: str, kind: str, *, exogenous: bool = False, unusual: float = 1.0) -> Node:
    return Node(id=id_, kind=kind, label=id_, exogenous=exogenous, unusual=unusual)


def edge(source: str, target: str, evidence: tuple[str, ...] = ("e",)) -> Edge:
    return Edge(source=source, target=target, kind="data", evidence=list(evidence))


@st.composite
def graphs(draw) -> CausalGraph:
    count = draw(st.integers(1, 9))
    nodes = [node("failure", "failure")]
    for number in range(count):
        exogenous = draw(st.booleans())
        kind = draw(st.sampled_from(["resource", "downstream", "config"])) if exogenous else "span"
        nodes.append(node(f"n{number}", kind, exogenous=exogenous, unusual=draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))))
    ids = [n.id for n in nodes]
    pairs = draw(st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(ids)), max_size=24, unique=True))
    return CausalGraph(nodes=nodes, edges=[edge(a, b) for a, b in pairs], failure="failure")


def net_of(made: CausalGraph) -> nx.DiGraph:
    net = nx.DiGraph()
    net.add_nodes_from(n.id for n in made.nodes)
    net.add_edges_from((e.source, e.target) for e in made.edges)
    return net


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_the_slice_covers_every_differing_cause_and_no_member_can_be_left_out(made):
    cut = slice_graph(made)
    by_id = {n.id: n for n in made.nodes}
    exogenous = {n.id for n in made.nodes if n.exogenous}
    # what does not differ acts as it does in healthy requests: only paths whose last exogenous node differs count
    usual = {id_ for id_ in exogenous if by_id[id_].unusual < DIFFERS}
    for source in exogenous - usual:
        kept = net_of(made)
        kept.remove_nodes_from((set(cut.nodes) | usual) - {source})
        if source not in cut.nodes:
            assert not nx.has_path(kept, source, "failure")
    for member in cut.nodes:
        alone = net_of(made)
        alone.remove_nodes_from(exogenous - {member})
        assert nx.has_path(alone, member, "failure")


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_deleting_an_edge_of_a_path_changes_the_slice(made):
    cut = slice_graph(made)
    for way in cut.paths:
        for step in pairwise(way):
            fewer = made.model_copy(update={"edges": [e for e in made.edges if (e.source, e.target) != step]})
            assert slice_graph(fewer) != cut


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_an_edge_without_evidence_does_not_count(made):
    bare = made.model_copy(update={"edges": [e.model_copy(update={"evidence": []}) for e in made.edges]})
    assert slice_graph(bare) == Slice()


@settings(max_examples=100, deadline=None)
@given(graphs(), st.integers())
def test_nodes_and_edges_in_any_order_give_the_same_slice(made, seed):
    mixed = random.Random(seed)
    nodes, edges = list(made.nodes), list(made.edges)
    mixed.shuffle(nodes)
    mixed.shuffle(edges)
    assert slice_graph(made.model_copy(update={"nodes": nodes, "edges": edges})) == slice_graph(made)


def test_deleting_the_edges_of_a_cited_call_takes_the_downstream_off_the_slice():
    timelines = checkout("ConnectionRefusedError").timelines()
    made = graph(timelines, shape(timelines))
    fewer = made.model_copy(update={"edges": [e for e in made.edges if not e.source.startswith("downstream")]})
    assert "downstream" in kinds(slice_graph(made))
    assert "downstream" not in kinds(slice_graph(fewer))


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "elsewhere"]), st.sampled_from([True, False, None])))
def test_runs_settle_only_what_they_could_tell(healed):
    predictions = [Prediction(node=n, intervention="set it", outcome="CodeChange") for n in ("a", "b", "c")]
    cut = Slice(nodes=["a", "b", "c"], predictions=predictions)
    settled = settle(cut, healed)
    assert [p.node for p in settled.predictions] == ["a", "b", "c"]
    assert all(p.confirmed is healed.get(p.node) for p in settled.predictions)
    assert settle(settled, {}) == settled
    assert settle(settled, dict.fromkeys("abc")) == settled
