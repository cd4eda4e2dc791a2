"""A judge client of the OpenAI API: OpenAI's own, vLLM, Ollama, Gemini's compatible endpoint."""

import json
import logging
import re
from collections.abc import Generator, Sequence
from functools import partial
from threading import Lock
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from swarm.errors import UserError
from swarm.evals.judges.bounded_http import BodyError, bounded_client
from swarm.evals.judges.client import Gate, Reply, TransportError
from swarm.evals.judges.concurrent_calls import (
    PATIENT,
    Patience,
    asked_wait,
    concurrently,
    key_from,
    passing,
    shortened,
)
from swarm.evals.judges.refusals import BLOCKED

_KEY = "OPENAI_API_KEY"
_NAMES_SHOWN = 8
_TOKENS = "max_tokens"
_MOST_TOKENS = 10**8  # that a call can have read or written
_FILTERED = re.compile(r"content[ _-]?(?:filter|management policy|policy)|responsible.?ai", re.IGNORECASE)

log = logging.getLogger(__name__)


class OpenAIClient:
    """Asks a model by chat completions at temperature 0.

    Attributes:
      name: the model and the server, as messages name them.
      max_new_tokens: tokens that a reply may have at most.
    """

    def __init__(
        self,
        url: str,
        model: str,
        max_new_tokens: int = 20,
        at_once: int = 8,
        timeout: float = 60.0,
        patience: Patience = PATIENT,
    ):
        """`url` ends where the API begins, mostly in /v1; `timeout` is in seconds, `at_once` counts calls in flight.

        The key is read from OPENAI_API_KEY; a server that wants none gets along without. Raises UserError if `url` is
        no address.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"--judge_url is {_public(url)!r}; wanted an address such as http://localhost:8000/v1")
        self._url = url.rstrip("/")
        self._model = model
        self._address = _public(url)
        self.name = f"{model} at {self._address}"
        self.max_new_tokens = max_new_tokens
        self._at_once = at_once
        self._timeout = timeout
        self._patience = patience
        self._key = ""
        self._parameters: dict[str, Any] = {"temperature": 0, _TOKENS: max_new_tokens}
        self._changing = Lock()
        self._api: Any = None

    def facts(self) -> dict[str, str]:
        """The facts that decide a reply, with the address: model names are a server's own choice."""
        return {
            "provider": "openai",
            "url": self._address,
            "model": self._model,
            "max_new_tokens": str(self.max_new_tokens),
        }

    def check(self) -> None:
        """Raises UserError if the server cannot be reached, refuses the key, or lists models without this one."""
        api = self._connected()
        try:
            listing = self._answer(lambda: api.models.with_raw_response.list())
        except _NotThere:
            self._check_address(api)
            return  # a server need not list its models
        except TransportError as error:
            raise UserError(f"{error}; start the server, or correct --judge_url") from error
        entries = listing.get("data") if isinstance(listing, dict) else None
        names = [str(entry.get("id")) for entry in entries or [] if isinstance(entry, dict)]
        if names and _plain(self._model) not in map(_plain, names):
            more = ", ..." if len(names) > _NAMES_SHOWN else ""
            shown = ", ".join(names[:_NAMES_SHOWN]) + more
            raise UserError(f"--judge_model {self._model} is not at {self._address}; it has {shown}")

    def _check_address(self, api: Any) -> None:
        """Raises UserError if the API begins one step further than --judge_url says."""
        try:
            self._answer(lambda: api.with_options(base_url=f"{self._url}/v1").models.with_raw_response.list())
        except (UserError, TransportError):
            return  # nothing is known to be there
        raise UserError(f"--judge_url is {self._address}, where no API is; the server's is at {self._address}/v1")

    def ask(self, prompts: Sequence[str], gate: Gate) -> Generator[tuple[int, Reply], None, None]:
        """Asks several prompts at once; see `Client.ask`."""
        self._connected()
        return concurrently(self._ask_one, prompts, gate, self._at_once, self._patience)

    def _connected(self) -> Any:
        if self._api is None:
            try:
                import openai
                import tenacity  # noqa: F401
            except ImportError as error:
                raise UserError(
                    f"judge {self.name} needs {error.name}, which is not installed: pip install openai tenacity"
                ) from error
            self._key = key_from(_KEY)[1]
            # the library wants some key even for a server that wants none
            self._api = openai.OpenAI(
                base_url=self._url,
                api_key=self._key or "none",
                max_retries=0,
                timeout=self._timeout,
                http_client=bounded_client(openai, self._timeout),
            )
        return self._api

    def _ask_one(self, prompt: str) -> Reply:
        try:
            body = self._completion([{"role": "user", "content": prompt}])
        except _FilteredError as error:
            return Reply(str(error), 0, 0, BLOCKED)
        try:
            choice, usage = body["choices"][0], body.get("usage") or {}
            return Reply(
                text=_text(choice["message"]),
                prompt_tokens=_count(usage.get("prompt_tokens")),
                new_tokens=_count(usage.get("completion_tokens")),
                finish=BLOCKED if choice["message"].get("refusal") else str(choice.get("finish_reason") or ""),
            )
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise TransportError(f"judge {self.name} sent something that is no chat completion", None, True) from error

    def _completion(self, messages: list[dict[str, str]]) -> Any:
        """A chat completion's JSON, without the parameters that the server has refused."""
        while True:
            tried = dict(self._parameters)
            call = partial(
                self._api.chat.completions.with_raw_response.create, model=self._model, messages=messages, **tried
            )
            try:
                return self._answer(call)
            except _Unsupported as refused:
                self._leave_out(str(refused), tried)

    def _leave_out(self, said: str, tried: dict[str, Any]) -> None:
        """Does without a parameter that the server refuses. Raises UserError where there is nothing to leave out."""
        with self._changing:
            if self._parameters != tried:
                return  # another call has done so
            if _TOKENS in tried and ("max_completion_tokens" in said or _TOKENS in said):
                self._parameters = {"max_completion_tokens": tried[_TOKENS]} | {
                    name: value for name, value in tried.items() if name != _TOKENS
                }
                log.info("judge %s takes max_completion_tokens in the place of %s", self.name, _TOKENS)
            elif "temperature" in tried and "temperature" in said:
                self._parameters = {name: value for name, value in tried.items() if name != "temperature"}
                log.warning("judge %s takes no temperature: its ratings may differ from call to call", self.name)
            else:
                raise UserError(
                    f"judge {self.name} refused the question with HTTP 400 ({said}); use a model that takes chat "
                    "completions, or mend what the server names"
                )

    def _answer(self, call: Any) -> Any:
        """A call's JSON.

        Raises _Unsupported for a parameter that the server refuses, _FilteredError for a question, _NotThere for 404,
        TransportError for what is worth a retry, else UserError.
        """
        import openai

        try:
            return json.loads(call().text)
        except openai.APIStatusError as error:
            if error.status_code in (400, 403, 422) and _FILTERED.search(f"{error.message} {error.body}"):
                raise _FilteredError(shortened(error.message, self._key)) from error
            self._refused(error.status_code, shortened(error.message, self._key), asked_wait(error.response.headers))
        except openai.APITimeoutError as error:
            raise TransportError(f"judge {self.name} did not answer in {self._timeout:g} s", None, True) from error
        except BodyError as error:
            raise UserError(f"judge {self.name} {error}; see that --judge_url is right") from error
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, BodyError):
                raise UserError(
                    f"judge {self.name} {error.__cause__}; see that --judge_url is the right one"
                ) from error
            reason = shortened(str(error.__cause__ or error), self._key)
            raise TransportError(f"judge {self.name} cannot be reached ({reason})", None, True) from error
        except ValueError as error:
            reason = shortened(str(error), self._key)
            raise TransportError(f"judge {self.name} sent what cannot be read ({reason})", None, True) from error

    def _refused(self, status: int, said: str, retry_after: float | None) -> NoReturn:
        if passing(status):
            raise TransportError(f"judge {self.name} answered HTTP {status} ({said})", retry_after)
        if status in (401, 403):
            what = f"refuses the key in {_KEY}" if self._key else f"wants a key, and {_KEY} is not set"
            raise UserError(f"judge {self.name} {what} (HTTP {status}); set {_KEY} to a key that is valid there")
        if 300 <= status < 400:
            raise UserError(
                f"judge {self.name} redirects to another address (HTTP {status}), which gets neither texts nor key; "
                "give that address itself with --judge_url, if you trust it"
            )
        if status in (400, 422) and any(name in said for name in (*self._parameters, "max_completion_tokens")):
            raise _Unsupported(said)
        if status == 404:
            raise _NotThere(
                f"judge {self.name} answered HTTP 404 ({said}); correct --judge_model, or --judge_url: most servers' "
                "end in /v1"
            )
        raise UserError(
            f"judge {self.name} refused the question with HTTP {status} ({said}); use a model that takes chat "
            "completions at temperature 0, or mend what the server names"
        )


def _text(message: Any) -> str:
    """What a message says, or with what words it refuses; parts are joined, what is thought beside it is none of it."""
    content = message["content"] or message.get("refusal")
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if part.get("type", "text") == "text")
    return str(content or "")


def _count(value: Any) -> int:
    """A number of tokens; 0, which is not known, for what cannot be one."""
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS
    return int(value) if known else 0


class _FilteredError(Exception):
    """The server's filter keeps the question back."""


class _Unsupported(Exception):
    """The server refuses a parameter of the call."""


class _NotThere(UserError):
    """The server has no such model or no such path."""


def _public(url: str) -> str:
    """An address without user, password and query, which may be secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def _plain(model: str) -> str:
    """A model's name without what some servers put around it in their lists only."""
    return model.removeprefix("models/").removesuffix(":latest")
