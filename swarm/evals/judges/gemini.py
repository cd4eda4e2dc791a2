"""A Gemini model as the judge, through google-genai, or through its predecessor google-generativeai."""

import logging
import os
import re
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NoReturn

from swarm.errors import UserError
from swarm.evals.judges.bounded_http import BodyError, bounded_transport
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

_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
_REDIRECTED = "redirects to another address, which gets neither texts nor key"
_URL = "GOOGLE_GEMINI_BASE_URL"  # google-genai's own variable
_HARMS = ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")
# An answer to be rated may well contain what a filter would keep back, and then there would be no rating.
_SAFETY = [{"category": f"HARM_CATEGORY_{harm}", "threshold": "BLOCK_NONE"} for harm in _HARMS]
_REQUEST_LINE = re.compile(r"^(?:GET|POST) \S+: ")  # which google-generativeai puts in front of the server's message


class GeminiClient:
    """Asks a Gemini model at temperature 0, with its safety filters off.

    Attributes:
      name: the model, as messages name it.
      max_new_tokens: tokens that a reply may have at most, those of a thinking model's thoughts included.
    """

    def __init__(
        self,
        model: str,
        max_new_tokens: int = 20,
        at_once: int = 8,
        timeout: float = 60.0,
        patience: Patience = PATIENT,
    ):
        """`timeout` is in seconds, `at_once` counts calls in flight; the key is read when it is needed."""
        self.name = model.removeprefix("models/")
        self.max_new_tokens = max_new_tokens
        self._at_once = at_once
        self._timeout = timeout
        self._patience = patience
        self._key_name, self._key = "", ""
        self._library: _GenAI | _GenerativeAI | None = None

    def facts(self) -> dict[str, str]:
        """The facts that decide a reply; Google's library is none of them."""
        return {"provider": "gemini", "model": self.name, "max_new_tokens": str(self.max_new_tokens)}

    def check(self) -> None:
        """Raises UserError if there is no key or no library, or if the server knows no such key or model."""
        library = self._connected()
        try:
            self._guarded(library, lambda: library.find(self.name))
        except TransportError as error:
            raise UserError(f"{error}; see that this machine reaches Google's servers, then try again") from error

    def ask(self, prompts: Sequence[str], gate: Gate) -> Generator[tuple[int, Reply], None, None]:
        """Asks several prompts at once; see `Client.ask`."""
        library = self._connected()

        def ask_one(prompt: str) -> Reply:
            return _reply(self.name, self._guarded(library, lambda: library.generate(self.name, prompt)))

        return concurrently(ask_one, prompts, gate, self._at_once, self._patience)

    def _connected(self) -> "_GenAI | _GenerativeAI":
        if self._library is None:
            self._key_name, self._key = key_from(*_KEYS)
            if not self._key:
                raise UserError(f"judge {self.name} wants a key: set {' or '.join(_KEYS)} to one from Google AI Studio")
            for library in (_GenAI, _GenerativeAI):
                try:
                    import tenacity  # noqa: F401

                    self._library = library(self._key, self._timeout, self.max_new_tokens)
                    return self._library
                except ImportError:
                    continue
            raise UserError(f"judge {self.name} needs Google's client: pip install google-genai tenacity")
        return self._library

    def _guarded(self, library: "_GenAI | _GenerativeAI", call: Callable[[], Any]) -> Any:
        """A call's response; raises TransportError for what is worth a retry, else UserError."""
        try:
            return call()
        except library.refusals as error:
            headers = getattr(error.response, "headers", None) or {}
            said = shortened(_REQUEST_LINE.sub("", str(error.message)), self._key)
            self._refused(int(error.code or 0), said, _retry_delay(error.details) or asked_wait(headers))
        except BodyError as error:
            raise UserError(f"judge {self.name} {error}; see what {_URL} names") from error
        except library.redirected as error:
            raise UserError(f"judge {self.name} {_REDIRECTED}; see what {_URL} names") from error
        except library.lost as error:
            reason = shortened(str(error), self._key)
            raise TransportError(f"judge {self.name} cannot be reached ({reason})", None, True) from error
        except library.nonsense as error:
            reason = shortened(str(error), self._key)
            raise TransportError(f"judge {self.name} sent what cannot be read ({reason})", None, True) from error

    def _refused(self, status: int, said: str, retry_after: float | None) -> NoReturn:
        if passing(status):
            raise TransportError(f"judge {self.name} answered HTTP {status} ({said})", retry_after)
        if 300 <= status < 400:
            raise UserError(f"judge {self.name} {_REDIRECTED} (HTTP {status}); see what {_URL} names")
        if status in (401, 403) or "api key" in said.lower():  # Gemini answers 400 to a key that is not valid
            raise UserError(
                f"judge {self.name} refuses the key in {self._key_name} (HTTP {status}); set it to a valid one"
            )
        if status == 404:
            raise UserError(
                f"there is no Gemini model {self.name} (HTTP 404: {said}); give --judge_model one that "
                "ai.google.dev/gemini-api/docs/models lists"
            )
        raise UserError(
            f"judge {self.name} refused the question with HTTP {status} ({said}); mend what the server names"
        )


class _GenAI:
    """google-genai, Google's supported library."""

    def __init__(self, key: str, timeout: float, max_new_tokens: int):
        import google.genai as genai
        from google.genai import errors, types

        # it warns where both variables hold a key, of which it would take the other one
        logging.getLogger("google_genai").setLevel(logging.ERROR)
        bounds = {"transport": bounded_transport(_http_library(), timeout), "follow_redirects": False}
        options = types.HttpOptions(timeout=int(timeout * 1000), api_version="v1beta", client_args=bounds)
        self._client = genai.Client(api_key=key, vertexai=False, http_options=options)  # closes where nothing holds it
        self._config = types.GenerateContentConfig(
            temperature=0,
            max_output_tokens=max_new_tokens,
            safety_settings=_SAFETY,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        self.refusals: Any = errors.APIError
        self.lost = _transport_errors()
        self.redirected: tuple[type[Exception], ...] = ()
        self.nonsense: Any = ValueError

    def find(self, model: str) -> None:
        """Returns if there is such a model."""
        self._client.models.get(model=model)

    def generate(self, model: str, prompt: str) -> Any:
        """The response to one prompt."""
        return self._client.models.generate_content(model=model, contents=prompt, config=self._config)


class _GenerativeAI:
    """google-generativeai 0.8, no longer supported, for environments that have it."""

    def __init__(self, key: str, timeout: float, max_new_tokens: int):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it announces its end at every import
            import google.generativeai as genai
        import requests
        from google.api_core import exceptions
        from google.generativeai.client import get_default_generative_client, get_default_model_client
        from google.protobuf import json_format

        base = os.environ.get(_URL, "").rstrip("/")
        genai.configure(api_key=key, transport="rest", client_options={"api_endpoint": base} if base else None)
        self._genai = genai
        # its own retries would not know our limits
        self._options: dict[str, Any] = {"timeout": timeout, "retry": None}
        self._generation = {"temperature": 0, "max_output_tokens": max_new_tokens}
        self.refusals: Any = exceptions.GoogleAPICallError
        for client in (get_default_generative_client(), get_default_model_client()):
            client.transport._session.max_redirects = 0
        self.redirected = (requests.exceptions.TooManyRedirects,)
        self.lost: Any = requests.exceptions.RequestException
        self.nonsense: Any = (ValueError, json_format.ParseError)

    def find(self, model: str) -> None:
        """Returns if there is such a model."""
        self._genai.get_model(f"models/{model}", request_options=self._options)

    def generate(self, model: str, prompt: str) -> Any:
        """The response to one prompt."""
        asked = self._genai.GenerativeModel(model, generation_config=self._generation, safety_settings=_SAFETY)
        return asked.generate_content(prompt, request_options=self._options)


def _transport_errors() -> tuple[type[Exception], ...]:
    """The exceptions of google-genai's HTTP client: httpx2 where that is installed, else httpx."""
    found = []
    for name in ("httpx", "httpx2"):
        try:
            found.append(__import__(name).TransportError)
        except ImportError:
            continue
    return tuple(found)


def _http_library() -> Any:
    """The HTTP library of google-genai: httpx, or its successor."""
    try:
        import httpx

        return httpx
    except ImportError:
        return __import__("httpx2")


def _reply(name: str, response: Any) -> Reply:
    """A response as a reply; both libraries' responses have these fields. Blocked or empty is the text ""."""
    usage = response.usage_metadata
    prompt_tokens = getattr(usage, "prompt_token_count", 0) or 0
    # thoughts are billed like what is said
    new_tokens = (getattr(usage, "candidates_token_count", 0) or 0) + (getattr(usage, "thoughts_token_count", 0) or 0)
    candidates = response.candidates or []
    blocked = getattr(response.prompt_feedback, "block_reason", None)
    if not candidates:
        if not blocked:
            raise TransportError(f"judge {name} sent something that is no reply of a model", None, True)
        return Reply("", prompt_tokens, new_tokens, blocked.name)
    content, finish = candidates[0].content, candidates[0].finish_reason
    parts = (content.parts if content else None) or []
    text = "".join(part.text or "" for part in parts if not getattr(part, "thought", False))
    return Reply(text, prompt_tokens, new_tokens, finish.name if finish else "")


def _retry_delay(details: Any) -> float | None:
    """Seconds that an error's body asks to wait (google.rpc.RetryInfo); None where it does not.

    google-genai hands out the body as JSON, google-generativeai the unpacked messages.
    """
    if isinstance(details, Mapping):
        details = details.get("error", details).get("details")
    for detail in details or []:
        if isinstance(detail, Mapping):
            text = str(detail.get("retryDelay", "")).removesuffix("s")
            if text.replace(".", "", 1).isdecimal():
                return float(text)
        elif hasattr(detail, "retry_delay"):
            return float(detail.retry_delay.total_seconds())
    return None
