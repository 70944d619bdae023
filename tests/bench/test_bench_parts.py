"""The parts of the bench that decide what its figures mean."""

import random
import socket
import threading

import pytest

from bench import bisections, histories, loads
from bench.floods import Flood
from bench.rows import Row
from bench.watchings import Cost


def test_every_commit_of_a_drawn_graph_that_bad_descends_from_is_a_candidate(tmp_path):
    steps = list(bisections.drawn(random.Random(3), 60))
    shas = histories.write(tmp_path / "one", steps)
    assert len(set(shas)) == 60
    assert any(len(step.parents) == 2 for step in steps)
    assert all(parent < number for number, step in enumerate(steps) for parent in step.parents)


def test_the_same_steps_give_the_same_commits(tmp_path):
    steps = list(bisections.drawn(random.Random(3), 20))
    assert histories.write(tmp_path / "one", steps) == histories.write(tmp_path / "two", steps)


@pytest.mark.parametrize("name", bisections.RANKINGS)
def test_both_ways_find_the_planted_commit_and_count_their_runs(tmp_path, name):
    steps = [histories.Step((n - 1,) if n else (), {"n": f"{n}\n"}) for n in range(17)]
    shas = histories.write(tmp_path / "one", steps)
    oracle = bisections.Oracle(frozenset(shas[9:]))
    ranking = bisections.ranked(random.Random(1), shas[1:], shas[9], bisections.RANKINGS[name])
    runs = bisections.our_runs(tmp_path / "one", oracle, ranking, (shas[0], shas[-1]), shas[9])
    assert runs == oracle.runs
    assert bisections.git_runs(tmp_path / "one", shas[0], shas[-1], shas[9]) == 4


def test_a_load_refuses_to_measure_what_is_not_answered_with_200():
    server = socket.create_server(("127.0.0.1", 0))

    def answer():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")

    threading.Thread(target=answer, daemon=True).start()
    with pytest.raises(RuntimeError, match="500"):
        loads.loaded(server.getsockname()[1], 0.2)
    server.close()


def test_a_figure_without_a_bound_is_neither_held_nor_broken():
    assert Row("capture", "throughput", 0.5).held is None
    assert Row("bisection", "runs", 0.71, bound=0.7).held is False
    assert Row("bisection", "runs", 0.7, bound=0.7).held is True


def test_a_cost_is_the_median_of_its_pairs_within_what_they_allow():
    drawn = random.Random(5)
    cost = Cost.of([1.02 + drawn.gauss(0, 0.02) for _ in range(40)])
    assert 1.0 < cost.low < cost.value < cost.high < 1.04
    assert Cost.of([1.5] * 3) == Cost(1.5, 1.5, 1.5)


def test_memory_that_only_goes_up_and_down_has_not_grown():
    assert Flood([75, 90, 80] * 5, 0, 0).growth == 1
    assert Flood([75.0 + step for step in range(15)], 0, 0).growth > 1.1
