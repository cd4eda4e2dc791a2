"""An HTTP client for servers that are strangers: bounded bodies and times, and no redirects."""

from collections.abc import Iterator
from importlib import import_module
from time import monotonic
from typing import Any

MOST_BYTES = 8 * 2**20  # of a reply; a rating takes a few hundred


class BodyError(Exception):
    """Raised for a reply that is not read to its end: too large, or compressed although that was not asked for."""


def bounded_client(openai: Any, timeout: float) -> Any:
    """A client for the `openai` library; a call takes at most `timeout` seconds, however slowly its reply drips."""
    http = import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])  # httpx, or its successor
    return openai.DefaultHttpxClient(
        transport=bounded_transport(http, timeout), follow_redirects=False, timeout=http.Timeout(timeout)
    )


def bounded_transport(http: Any, timeout: float) -> Any:
    """A transport of this HTTP library (httpx, or its successor) with these bounds; it follows no redirect itself."""

    class Limited(http.SyncByteStream):  # type: ignore[misc, name-defined]
        """A reply's bytes up to the bounds."""

        def __init__(self, stream: Any, request: Any, deadline: float):
            self._stream, self._request, self._deadline = stream, request, deadline

        def __iter__(self) -> Iterator[bytes]:
            read = 0
            for block in self._stream:
                read += len(block)
                if read > MOST_BYTES:
                    raise BodyError(f"sends a reply of more than {MOST_BYTES >> 20} MB")
                if monotonic() > self._deadline:
                    raise http.ReadTimeout(f"no whole reply in {timeout:g} s", request=self._request)
                yield block

        def close(self) -> None:
            self._stream.close()

    class Bounded(http.BaseTransport):  # type: ignore[misc, name-defined]
        """Connections as they are, with bounds on what is read."""

        def __init__(self) -> None:
            self._inner = http.HTTPTransport()

        def handle_request(self, request: Any) -> Any:
            request.headers["accept-encoding"] = "identity"  # a few compressed bytes can become gigabytes
            deadline = monotonic() + timeout
            response = self._inner.handle_request(request)
            if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
                response.close()
                raise BodyError("sends a compressed reply, which was not asked for")
            response.stream = Limited(response.stream, request, deadline)
            return response

        def close(self) -> None:
            self._inner.close()

    return Bounded()
