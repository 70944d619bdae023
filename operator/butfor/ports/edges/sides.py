"""The two sockets of a connection: bytes, FIN, RST and back pressure of one are passed to the other."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connections import Connection

_RESET = struct.pack("ii", 1, 0)


class Side(asyncio.Protocol):
    """One socket of a connection; what happens on it is told to the connection."""

    transport: asyncio.Transport | None = None
    eof = False

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def other(self) -> Side:
        """The socket on the other side."""
        return self.connection.server if self is self.connection.client else self.connection.client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; a client's bytes wait until the service has accepted."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self is self.connection.client:
            # not at once: up to CPython 3.11.3 the loop starts reading after this, paused or not
            asyncio.get_running_loop().call_soon(transport.pause_reading)
            self.connection.start()

    def data_received(self, data: bytes) -> None:
        """Pass on and follow."""
        (self.connection.from_client if self is self.connection.client else self.connection.from_server)(data)

    def eof_received(self) -> bool:
        """Pass a FIN on; the other direction stays open, as it does without an edge."""
        self.eof = True
        self.connection.finished(self)
        if self.other.eof:
            self.close()
            self.other.close()
        elif self.other.transport and not self.other.transport.is_closing():
            self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass a reset on."""
        if exc is not None:
            self.connection.finished(self, reset=True)
        if self is self.connection.client:
            self.connection.edge.connections.discard(self.connection)
        self.other.close(reset=exc is not None)

    def pause_writing(self) -> None:
        """Let the sender feel that the receiver is slow."""
        if self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        if self.other.transport and not self.other.eof:
            self.other.transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Send, unless this side is gone."""
        if self.transport and not self.transport.is_closing() and data:
            self.transport.write(data)

    def close(self, *, reset: bool = False) -> None:
        """Close after what is queued was sent; `reset` closes with RST."""
        if self.transport and not self.transport.is_closing():
            if reset:
                with contextlib.suppress(OSError):
                    sock = self.transport.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.close()
