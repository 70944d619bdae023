"""Ports of a play are the same each time, but for those that somebody has."""

import socket

from butfor.ports.players.services import Ports


def test_a_port_that_somebody_has_is_passed_over():
    first, second = (ports := Ports()).take(), ports.take()
    assert second > first
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))  # whether or not it listens
        assert Ports().take() == second


def test_ports_are_the_same_again():
    takes = [[ports.take() for _ in range(3)] for ports in (Ports(), Ports())]
    assert takes[0] == takes[1]
