"""What ran for failing and healthy requests, where no stack shows the failure."""

from dataclasses import replace

import pytest

from butfor.evidence.graphs import CausalGraph, Slice
from butfor.evidence.predicates import Frame
from butfor.locating.blocks import Parser
from butfor.locating.rankings import locate
from butfor.locating.running import BEFORE, PASSED, observe
from butfor.locating.trees import Tree

from .conftest import frame, line_of, timelines

APP = """def serve(request):
    user = parse(request)
    if allowed(user):
        return show(user)
    return refuse(user)


def parse(request):
    return request.partition(":")[2]


def allowed(user):
    return user in ("ann", "bob")


def show(user):
    return "hello " + user


def refuse(user):
    return "no " + user


def unused(user):
    return user
"""
ORDER = ["serve", "parse", "allowed"]


def seen(failing, healthy, healthy_target="/item"):
    lines = timelines(healthy=(healthy_target,))
    lists = [failing, healthy]
    requests = [
        one.model_copy(update={"functions": [frame("app.py", line_of(APP, f"def {n}("), n) for n in names]})
        for one, names in zip(lines.requests, lists, strict=True)
    ]
    return replace(lines, requests=requests)


@pytest.fixture
def tree(builder, opened):
    return Tree(opened, builder.commit("app", app_py=APP), ["app.py"], ".", Parser())


def test_the_place_where_ways_part_is_nearest(tree):
    near = observe(seen([*ORDER, "refuse"], [*ORDER, "show"]), tree).near
    weights = {key[1]: one.weight for key, one in near.items()}
    assert weights["allowed"] == BEFORE
    assert weights["allowed"] > weights["parse"] > weights["serve"]
    assert weights["allowed"] > weights["refuse"] > PASSED
    assert "show" not in weights
    assert "before app.refuse" in near[("app.py", "allowed")].why


def test_without_a_parting_all_that_ran_is_alike(tree):
    near = observe(seen(ORDER, [*ORDER, "show"]), tree).near
    assert {one.weight for one in near.values()} == {PASSED}


def test_requests_of_other_routes_say_less(tree):
    alike = observe(seen([*ORDER, "refuse"], [*ORDER, "show"]), tree).near
    others = observe(seen([*ORDER, "refuse"], [*ORDER, "show"], "/other"), tree).near
    assert others[("app.py", "allowed")].weight < alike[("app.py", "allowed")].weight


def test_a_request_that_rightly_gets_the_same_error_is_not_compared_with(tree):
    lines = seen([*ORDER, "refuse"], [*ORDER, "show"], "/other")
    wrong, right = (one.model_copy(update={"status": 404}) for one in (lines.requests[0], lines.requests[0]))
    right = right.model_copy(update={"route": "/nowhere", "failed": False})
    lines = replace(lines, requests=[wrong, lines.requests[1], right], healthy=[1, 2])
    assert observe(lines, tree).partings == (("app.py", "refuse"),)


def test_of_a_request_without_an_end_the_last_functions_are_near(tree):
    lines = seen(ORDER, [*ORDER, "show"])
    lines.requests[0] = lines.requests[0].model_copy(update={"ended": "timeout"})
    weights = {key[1]: one.weight for key, one in observe(lines, tree).near.items()}
    assert weights["allowed"] == BEFORE
    assert weights["allowed"] > weights["parse"] > weights["serve"] > PASSED


def test_nothing_is_known_where_nobody_looked(tree):
    assert observe(seen([], [*ORDER, "show"]), tree).near == {}


def test_a_changed_function_that_ran_before_the_parting_beats_one_that_did_not_run(builder, opened):
    good = builder.commit("first", app_py=APP)
    culprit = builder.commit("narrow", app_py=APP.replace('("ann", "bob")', '("bob",)'))
    now = APP.replace('("ann", "bob")', '("bob",)').replace("    return user\n", "    return user + user\n")
    bad = builder.commit("unrelated", app_py=now)
    lines = seen([*ORDER, "refuse"], [*ORDER, "show"])
    ranking = locate(CausalGraph(), Slice(), lines, opened, good, bad)
    assert ranking.suspects[0].commit == culprit
    assert any("functions:t/s" in feature.evidence for feature in ranking.suspects[0].features)
    without = locate(CausalGraph(), Slice(), lines, opened, good, bad, without=frozenset({"traces"}))
    assert not any("functions:t/s" in feature.evidence for one in without.suspects for feature in one.features)


def test_where_nothing_failed_what_ran_for_few_requests_is_nearer_than_what_ran_for_all(tree):
    lines = replace(seen([*ORDER, "refuse"], ORDER), failing=[], healthy=[])
    weights = {key[1]: one.weight for key, one in observe(lines, tree).near.items()}
    assert weights["refuse"] > weights["serve"] == weights["allowed"] > 0
    assert "unused" not in weights


def test_whoever_refers_to_where_only_failing_requests_come_is_near(builder, opened):
    text = APP + "\n\ndef start(routes):\n    routes.add('/item', refuse)\n"
    good = builder.commit("first", app_py=text)
    culprit = builder.commit("route", app_py=text.replace("'/item'", "'/<path>'"))
    now = text.replace("'/item'", "'/<path>'").replace("return user\n", "return user + user\n")
    bad = builder.commit("unrelated", app_py=now)
    lines = seen([*ORDER, "refuse"], [*ORDER, "show"])
    assert locate(CausalGraph(), Slice(), lines, opened, good, bad).suspects[0].commit == culprit


ON_IT = "/srv/site/app.py"
DISPATCH = """def dispatch(request, view):
    check(request)
    try:
        return view(request)
    except Exception:
        return refused(request)


def check(request):
    return request


def since(request):
    return request.day


def refused(request):
    return None
"""


def raised_outside(*, recorded: bool = True):
    view = Frame(file=ON_IT, line=3, function="view", in_repository=False)
    lines = timelines([frame("web.py", line_of(DISPATCH, "return view("), "dispatch"), view], kind="TypeError")
    ran = [frame("web.py", line_of(DISPATCH, f"def {n}("), n) for n in ("dispatch", "check", "since", "refused")]
    order = [*ran[:2], view.model_copy(update={"line": 1}), *ran[2:]] if recorded else ran
    requests = [one.model_copy(update={"functions": order if one.failed else order[:-1]}) for one in lines.requests]
    return replace(lines, requests=requests)


def test_what_the_application_called_before_it_raised_is_near(builder, opened):
    tree = Tree(opened, builder.commit("web", web_py=DISPATCH), ["web.py"], ".", Parser())
    running = observe(raised_outside(), tree)
    assert running.application
    weights = {key[1]: one.weight for key, one in running.near.items()}
    assert weights == {"dispatch": PASSED, "check": PASSED, "since": BEFORE, "refused": PASSED}
    assert not observe(raised_outside(recorded=False), tree).application


def test_a_change_of_what_the_application_is_given_beats_one_of_what_called_it(builder, opened):
    good = builder.commit("first", web_py=DISPATCH)
    now = DISPATCH.replace("return request.day", "return zoned(request.day)")
    culprit = builder.commit("prepare the release", web_py=now)
    bad = builder.commit("types", web_py=now.replace("return view(request)", "return cast(Answer, view(request))"))
    assert locate(CausalGraph(), Slice(), raised_outside(), opened, good, bad).suspects[0].commit == culprit
    other = locate(CausalGraph(), Slice(), raised_outside(recorded=False), opened, good, bad)
    assert other.suspects[0].commit == bad


def test_a_rival_is_compared_with_healthy_requests_of_its_own_route(tree):
    lines = seen(["serve", "parse"], ["serve", "parse"])
    failing, healthy = lines.requests
    names = [*ORDER, "refuse"]
    functions = [frame("app.py", line_of(APP, f"def {name}("), name) for name in names]
    rival = failing.model_copy(update={"span": "r/s", "route": "/other", "target": "/other", "functions": functions})
    other = rival.model_copy(update={"span": "o/s", "failed": False, "functions": functions[:3]})
    alone = observe(lines, tree)
    both = observe(replace(lines, requests=[failing, healthy, rival, other], rivals=[2], healthy=[1, 3]), tree)
    assert ("app.py", "allowed") not in alone.near
    assert both.near["app.py", "allowed"].weight == BEFORE
    assert both.partings == (("app.py", "refuse"),)
