"""The client sends what it is told, byte by byte, and tells apart how answers end."""

import socket
import struct
import threading
import time

import pytest

from butfor.ports.players.clients import Answer, Memory, exchange


class Peer:
    """A server for one connection: reads until the header's end (and `body` bytes), then runs `behave`."""

    def __init__(self, behave, body=0):
        self.behave, self.body, self.received = behave, body, b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        connection, _ = self.listener.accept()
        with connection:
            while b"\r\n\r\n" not in self.received:
                self.received += connection.recv(65536)
            while len(self.received.partition(b"\r\n\r\n")[2]) < self.body:
                self.received += connection.recv(65536)
            self.behave(connection)
        self.listener.close()

    def ask(self, method="GET", target="/", headers=(), body=None, timeout=2.0):
        answer = exchange(self.port, method, target, list(headers), body, timeout)
        self.thread.join(3)
        return answer


def says(text, linger=None):
    def behave(connection):
        connection.sendall(text.encode())
        if linger is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, linger))

    return behave


def test_sends_target_headers_and_body_as_written():
    peer = Peer(says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), body=3)
    answer = peer.ask("POST", "/a//b?q=%zz|", [("X-odd", "1"), ("x-ODD", "2"), ("Host", "shop")], b"abc")
    assert peer.received == (
        b"POST /a//b?q=%zz| HTTP/1.1\r\nX-odd: 1\r\nx-ODD: 2\r\nHost: shop\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert (answer.status, answer.body, answer.complete, answer.ended) == (200, b"ok", True, None)


def test_adds_a_host_and_corrects_the_length_of_a_filled_body():
    peer = Peer(says("HTTP/1.1 204 No Content\r\n\r\n"), body=4)
    peer.ask("PUT", "/", [("Content-Length", "99")], b"four")
    assert f"Host: 127.0.0.1:{peer.port}\r\nContent-Length: 4\r\n".encode() in peer.received


def test_sends_a_chunked_body_where_the_request_was_chunked():
    peer = Peer(says("HTTP/1.1 204 No Content\r\n\r\n"), body=14)
    peer.ask("POST", "/", [("Transfer-Encoding", "chunked")], b"four")
    assert peer.received.endswith(b"\r\n\r\n4\r\nfour\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"abc"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"abc"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc", b"abc"),
    ],
)
def test_an_answer_that_breaks_off_is_incomplete_and_keeps_its_status(text, body):
    answer = Peer(says(text)).ask()
    assert (answer.status, answer.ended, answer.complete) == (200, None, False)
    assert body.startswith(answer.body)


@pytest.mark.parametrize(
    "text",
    [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nabc",
    ],
)
def test_an_answer_that_ends_as_promised_is_complete(text):
    answer = Peer(says(text)).ask()
    assert (answer.body, answer.body_bytes, answer.complete) == (b"abc", 3, True)


@pytest.mark.parametrize("method", ["HEAD"])
def test_an_answer_without_body_is_complete(method):
    assert Peer(says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")).ask(method).complete


@pytest.mark.parametrize("behave", [says(""), says("", linger=0), says("nonsense\r\n\r\n"), says("HTTP/1.1 200")])
def test_no_valid_answer_is_closed(behave):
    answer = Peer(behave).ask()
    assert (answer.status, answer.ended, answer.complete) == (None, "closed", False)


def test_nobody_listening_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert exchange(port, "GET", "/", [], None, 1.0).ended == "refused"


def drip(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(40):
        try:
            connection.sendall(b"x")
        except OSError:
            return
        time.sleep(0.05)


def drip_headers(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for i in range(40):
        try:
            connection.sendall(f"X-{i}: y\r\n".encode())
        except OSError:
            return
        time.sleep(0.05)


def say_nothing(connection):
    time.sleep(0.8)
    connection.close()


@pytest.mark.parametrize(("behave", "status"), [(say_nothing, None), (drip, 200), (drip_headers, None)])
def test_the_timeout_bounds_the_whole_exchange(behave, status):
    answer = Peer(behave).ask(timeout=0.3)
    assert (answer.status, answer.ended, answer.complete) == (status, "timeout", False)
    assert 0.25 < answer.seconds < 0.7


def test_a_server_that_does_not_read_is_a_timeout_too():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        answer = exchange(deaf.getsockname()[1], "POST", "/", [], b"x" * (20 << 20), 0.3)
    assert answer.ended == "timeout"


def test_an_early_answer_to_a_body_that_is_not_read_counts():
    def refuse(connection):
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.2)

    answer = Peer(refuse).ask("POST", "/", [], b"x" * (4 << 20))
    assert answer.status == 413


def test_interim_answers_are_passed_over():
    text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert Peer(says(text)).ask().status == 200


def test_repeated_headers_of_an_answer_are_all_there():
    text = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    assert Peer(says(text)).ask().headers[:2] == [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]


def test_memory_carries_cookies_and_values_to_later_requests():
    memory = Memory({"cookies", "TOKEN"})
    assert memory.missing("/x?t={{TOKEN}}") == "TOKEN"
    answer = Answer(headers=[("set-cookie", "sid=abc; Path=/"), ("Set-Cookie", "b=2")], body=b'{"token": "t-1"}')
    memory.save({"cookies": True, "TOKEN": '"token": "([^"]+)"'}, answer)
    assert memory.missing("/x?t={{TOKEN}}") == ""
    assert memory.fill("/x?t={{TOKEN}}&{{OTHER}}") == "/x?t=t-1&{{OTHER}}"
    assert memory.headers([("A", "{{TOKEN}}")]) == [("A", "t-1"), ("Cookie", "sid=abc; b=2")]
    assert memory.headers([("cookie", "own")]) == [("cookie", "own")]


def test_text_that_only_looks_like_a_saved_name_is_sent_as_it_is():
    memory = Memory(set())
    assert memory.missing("{{ user }} {{TOKEN}}") == ""
    assert memory.fill("{{TOKEN}}") == "{{TOKEN}}"
