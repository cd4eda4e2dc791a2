"""A judge on the loopback interface: the OpenAI API and Gemini's REST API, with every fault that a server can have."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from loopback_hub import listening

MODEL = "judge-model"


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    Attributes:
      status: the HTTP status of an error; 0 for none.
      cut: the connection ends without an answer; with a body, in the middle of it.
      seconds: the answer waits that long.
      body: stands in place of the answer; with a status, what the error says.
      finish: why the model stopped, where it gives no text.
      details: what a Google server's error says besides its message.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    seconds: float = 0.0
    body: str | None = None
    finish: str = ""
    details: tuple[dict[str, Any], ...] = ()


@dataclass
class JudgeServer:
    """What the server says, and what it was asked.

    Attributes:
      answer: prompt -> text.
      fault: (prompt, how often it has come before) -> Fault or None.
      key: the key that it wants; "" for none.
      listing: whether /v1/models is there; a text stands in its place.
      models: names that it knows.
      prompts: all that was asked for, in order of arrival.
      requests: methods, paths and bodies of all that came.
    """

    answer: Callable[[str], str] = lambda prompt: "Rating: 5/10"
    fault: Callable[[str, int], Fault | None] = lambda prompt, before: None
    key: str = ""
    listing: bool | str = True
    models: tuple[str, ...] = (MODEL, "other-model")
    prompts: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    url: str = ""
    _times: Counter[str] = field(default_factory=Counter)
    _lock: Any = field(default_factory=threading.Lock)

    def begin(self, prompt: str) -> Fault:
        """Notes a prompt that has come, and says what will go wrong with it."""
        with self._lock:
            before = self._times[prompt]
            self._times[prompt] += 1
            self.prompts.append(prompt)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return self.fault(prompt, before) or Fault()

    def end(self) -> None:
        """Notes that a prompt has been dealt with."""
        with self._lock:
            self.in_flight -= 1


def _error(status: int, message: str, details: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """An error body that both APIs' clients can read; servers like to repeat the key in it."""
    return {"error": {"code": status, "message": message, "status": "FAULT", "details": list(details)}}


def _openai(text: str, prompt: str, finish: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": None if finish else text}
    usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split()), "total_tokens": 0}
    choice = {"index": 0, "message": message, "finish_reason": finish or "stop"}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice], "usage": usage}


def _gemini(text: str, prompt: str, finish: str) -> dict[str, Any]:
    usage = {"promptTokenCount": len(prompt.split()), "candidatesTokenCount": len(text.split()), "totalTokenCount": 0}
    if finish == "PROHIBITED_CONTENT":  # the prompt itself is refused: there is no candidate at all
        return {"promptFeedback": {"blockReason": finish}, "usageMetadata": usage}
    candidate: dict[str, Any] = {"finishReason": finish or "STOP", "index": 0}
    if not finish:
        candidate["content"] = {"role": "model", "parts": [{"text": text}]}
    return {"candidates": [candidate], "usageMetadata": usage}


def handler_for(judge: JudgeServer) -> type[BaseHTTPRequestHandler]:
    """The HTTP side of a judge."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or every answer waits 40 ms for an acknowledgement

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            judge.requests.append(("GET", path, None))
            if self._refused():
                return
            if path == "/v1/models":
                self._send_listing()
            elif path.removeprefix("/v1beta/models/") in judge.models:
                self._send(200, {"name": path.removeprefix("/v1beta/"), "displayName": "a judge", "version": "1"})
            else:
                self._send(404, _error(404, "no such thing here"))

        def do_POST(self) -> None:
            path = self.path.partition("?")[0]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            judge.requests.append(("POST", path, body))
            if self._refused():
                return
            if path == "/v1/chat/completions":
                self._answer(body["messages"][-1]["content"], body["model"], _openai)
            elif path.startswith("/v1beta/models/") and path.endswith(":generateContent"):
                model = path.removeprefix("/v1beta/models/").removesuffix(":generateContent")
                self._answer(body["contents"][-1]["parts"][0]["text"], model, _gemini)
            else:
                self._send(404, _error(404, "no such thing here"))

        def _refused(self) -> bool:
            given = self.headers.get("x-goog-api-key") or self.headers.get("Authorization", "").removeprefix("Bearer ")
            if judge.key and given != judge.key:
                self._send(401, _error(401, f"API key not valid: {given}"))
                return True
            return False

        def _send_listing(self) -> None:
            if isinstance(judge.listing, str):
                self._send(200, judge.listing)
            elif judge.listing:
                entries = [{"id": model, "object": "model", "created": 1, "owned_by": "us"} for model in judge.models]
                self._send(200, {"object": "list", "data": entries})
            else:
                self._send(404, _error(404, "no listing"))

        def _answer(self, prompt: str, model: str, shape: Callable[[str, str, str], dict[str, Any]]) -> None:
            fault = judge.begin(prompt)
            try:
                time.sleep(fault.seconds)
                if fault.cut:
                    self.close_connection = True
                    if fault.body is not None:
                        self._send(200, fault.body, {"Content-Length": str(2 * len(fault.body))})
                elif model not in judge.models:
                    self._send(404, _error(404, f"no model {model}"))
                elif fault.status:
                    given = self.headers.get("x-goog-api-key") or self.headers.get("Authorization", "")
                    said = fault.body or f"refused {given}"
                    self._send(fault.status, _error(fault.status, said, fault.details), fault.headers)
                elif fault.body is not None:
                    self._send(200, fault.body, fault.headers)
                else:
                    self._send(200, shape(judge.answer(prompt), prompt, fault.finish))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # who asked has not waited
            finally:
                judge.end()

        def _send(self, status: int, body: dict[str, Any] | str, headers: dict[str, str] | None = None) -> None:
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            about = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
            for name, value in about.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Says nothing: the tests look at the judge's lists."""

    return Handler


@contextmanager
def judging(judge: JudgeServer) -> Iterator[JudgeServer]:
    """The judge at `judge.url` while the block runs."""
    with listening(handler_for(judge)) as judge.url:
        yield judge
