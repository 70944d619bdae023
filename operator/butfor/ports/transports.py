"""An HTTP client whose answers are bounded as a whole, in bytes and in time (a client's own timeout is per read)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2

MAXIMUM_ANSWER_BYTES = 512 * 1024


def bounded_client(seconds: float) -> httpx2.Client:
    """A client that ends an answer with httpx2.ReadError or ReadTimeout where it is too large or takes too long."""
    return httpx2.Client(transport=_Bounded(httpx2.HTTPTransport(), seconds), timeout=seconds)


class _Bounded(httpx2.BaseTransport):
    """Cuts an answer off that is too large or takes too long as a whole (a client's own timeout is per read)."""

    def __init__(self, inner: httpx2.BaseTransport, seconds: float) -> None:
        self.inner, self.seconds = inner, seconds

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        deadline = time.monotonic() + self.seconds
        response = self.inner.handle_request(request)
        assert isinstance(response.stream, httpx2.SyncByteStream)
        stream = _Stream(response.stream, deadline)
        return httpx2.Response(response.status_code, headers=response.headers, stream=stream, request=request)

    def close(self) -> None:
        self.inner.close()


class _Stream(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, deadline: float) -> None:
        self.inner, self.deadline = inner, deadline

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for part in self.inner:
            size += len(part)
            if size > MAXIMUM_ANSWER_BYTES:
                raise httpx2.ReadError(f"the answer is larger than {MAXIMUM_ANSWER_BYTES} bytes")
            if time.monotonic() > self.deadline:
                raise httpx2.ReadTimeout("the answer took too long")
            yield part

    def close(self) -> None:
        self.inner.close()
