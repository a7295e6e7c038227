"""Requests to a server's completions: many at a time, and again where that may help."""

import itertools
import json
import logging
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_after_delay,
    stop_when_event_set,
)
from tenacity.wait import wait_random_exponential

from toolformer.errors import ServedModelError
from tools.loopback import past_proxies

_LOGGER = logging.getLogger(__name__)
# It would tell of every request.
logging.getLogger("httpx2").setLevel(logging.WARNING)
# A server's batch is full with fewer texts of this size, and its queue is short.
IN_FLIGHT = 64
# A server that waits for its turn on a busy device answers late.
_SECONDS_OF_ANSWER, _SECONDS_OF_CONNECTION = 600.0, 10.0
# The first answer comes soon, or the address is wrong. Later a server may be started again.
_FIRST_PATIENCE, _LATER_PATIENCE = 10.0, 3600.0
_LONGEST_WAIT, _SECONDS_BETWEEN_LINES = 20.0, 60.0
# One answer that was long in coming, and was cut off, may have used up the patience alone.
_LEAST_ATTEMPTS = 3
# What servers say of a model that makes its numbers others. vLLM says `root`.
OF_THE_MODEL = ("root", "revision", "dtype", "quantization")
_PASSING_STATUSES = frozenset({408, 425, 429})
_MAX_CHARACTERS = 300


class PassingError(ServedModelError):
    """The server may answer if it is asked again."""


class CompletionsClient:
    """Asks a server for completions of token ids.

    Args:
        urls: addresses of servers of the same model, at least one, with or without `/v1`. They are
            asked in turn, also where one is asked again; no proxy is asked for this machine.
        model: the id that `/v1/models` says.
        key: sent as a bearer token.

    Attributes:
        url: all addresses, for messages.
        tokens_fed: tokens of prompts and completions, as the server counted them.
    """

    def __init__(self, urls: Sequence[str], model: str, *, key: str | None = None):
        self._urls = [url.rstrip("/").removesuffix("/v1") + "/v1" for url in urls]
        self.url = " and ".join(self._urls)
        self.model = model
        self.tokens_fed = 0
        self._patience = _FIRST_PATIENCE
        self._told = -_SECONDS_BETWEEN_LINES
        self._turn = threading.Lock()
        self._completions = itertools.cycle([httpx.URL(f"{url}/completions") for url in self._urls])
        self._headers = {"content-type": "application/json"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._certificates = httpx.create_ssl_context()
        self._clients: list[httpx.Client] = []
        self._of_thread = threading.local()
        self._threads = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="served-model")

    def close(self) -> None:
        """End its threads and connections."""
        self._threads.shutdown(cancel_futures=True)
        for client in self._clients:
            client.close()

    @property
    def _http(self) -> httpx.Client:
        """The client of this thread: one for all would look through all connections each time."""
        if not hasattr(self._of_thread, "client"):
            client = httpx.Client(
                headers=self._headers,
                verify=self._certificates,
                **past_proxies(*self._urls),
                timeout=httpx.Timeout(_SECONDS_OF_ANSWER, connect=_SECONDS_OF_CONNECTION),
            )
            with self._turn:
                self._clients.append(client)
            self._of_thread.client = client
        return self._of_thread.client

    def is_known(self) -> None:
        """The server was found fit: from now on wait for it, if it is started again."""
        self._patience = _LATER_PATIENCE

    def described(self) -> Mapping[str, Any]:
        """What `/v1/models` says of the model.

        Raises:
            ServedModelError: a server cannot be reached, has no such model, or says something else
                of it than the first one.
        """
        cards = [self._card(url) for url in self._urls]
        for name in (*OF_THE_MODEL, "max_model_len"):
            if len(told := {str(card.get(name)) for card in cards}) > 1:
                raise ServedModelError(
                    f"The servers at {self.url} say that {name} of {self.model!r} is "
                    f"{' and '.join(sorted(told))}. Expected servers of the same model, started "
                    "with the same flags."
                )
        return cards[0]

    def _card(self, url: str) -> Mapping[str, Any]:
        answer = self._with_patience(lambda: self._http.get(f"{url}/models"), threading.Event())
        cards = {str(card.get("id")): card for card in _objects(answer.get("data"))}
        if self.model not in cards:
            raise ServedModelError(
                f"The server at {url} has no model {self.model!r}; it has "
                f"{', '.join(cards) or 'none'}. Set language_model.server.model to one of these."
            )
        return cards[self.model]

    def complete(self, requests: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The first choice for each request; equal ones are sent once.

        Args:
            requests: fields of each, with token ids as `prompt`, but for the model.

        Raises:
            ServedModelError: says what the server refused, or how it differs from what was asked.
        """
        bodies = [json.dumps({"model": self.model, **request}) for request in requests]
        lengths = {
            body: len(request["prompt"]) for body, request in zip(bodies, requests, strict=True)
        }
        is_over = threading.Event()
        try:
            answers = self._threads.map(
                lambda body: self._choice(body, lengths[body], is_over), lengths
            )
            choices = dict(zip(lengths, answers, strict=True))
        finally:
            # Those that wait behind one that failed, or behind Ctrl-C, wait for nothing.
            is_over.set()
        return [choices[body] for body in bodies]

    def _choice(self, body: str, sent: int, is_over: threading.Event) -> Mapping[str, Any]:
        answer = self._with_patience(
            lambda: self._http.post(next(self._completions), content=body), is_over
        )
        choices, usage = _objects(answer.get("choices")), answer.get("usage")
        if not choices or not isinstance(usage, dict):
            raise ServedModelError(
                f"The server at {self.url} answered without choices or usage. Expected the form of "
                "OpenAI's completions, as `vllm serve` and `toolformer serve` have it, without a "
                "proxy that changes answers."
            )
        if usage.get("prompt_tokens") != sent:
            raise ServedModelError(
                f"The server at {self.url} was sent {sent} tokens and counted "
                f"{usage.get('prompt_tokens')}. Expected that it feeds token ids as they are, "
                "without a start token of its own. Take one that does, as `vllm serve` and "
                "`toolformer serve` do."
            )
        written = usage.get("completion_tokens")
        with self._turn:
            self.tokens_fed += sent + (written if isinstance(written, int) else 0)
        return choices[0]

    def _whole(self, response: httpx.Response) -> Mapping[str, Any]:
        """The body of an answer whose text was not cut off.

        Raises:
            ServedModelError: see `_checked`; also a PassingError, where it was.
        """
        answer = self._checked(response)
        # vLLM answers so, with the tokens until then, when it is paused or ended meanwhile.
        choices = _objects(answer.get("choices"))
        if any(choice.get("finish_reason") == "abort" for choice in choices):
            raise PassingError(
                f"The server at {self.url} broke off an answer. What was computed is kept; run the "
                "same again later."
            )
        return answer

    def _with_patience(
        self, ask: Callable[[], httpx.Response], is_over: threading.Event
    ) -> Mapping[str, Any]:
        def once() -> Mapping[str, Any]:
            try:
                return self._whole(ask())
            except httpx.RequestError as error:
                raise PassingError(
                    f"The server at {self.url} does not answer ({type(error).__name__}: {error}). "
                    "What was computed is kept. Start it, or correct language_model.server.url, "
                    "and run the same again."
                ) from error

        return Retrying(
            retry=retry_if_exception_type(PassingError),
            wait=wait_random_exponential(multiplier=0.1, max=_LONGEST_WAIT),
            stop=(stop_after_delay(self._patience) & stop_after_attempt(_LEAST_ATTEMPTS))
            | stop_when_event_set(is_over),
            sleep=sleep_using_event(is_over),
            before_sleep=self._tell,
            reraise=True,
        )(once)

    def _tell(self, state: RetryCallState) -> None:
        """One line a minute, whichever requests wait; none for what passes at once."""
        is_short = state.attempt_number < 3 or self._patience == _FIRST_PATIENCE
        if is_short or state.outcome is None:
            return
        with self._turn:
            if time.monotonic() - self._told < _SECONDS_BETWEEN_LINES:
                return
            self._told = time.monotonic()
        _LOGGER.warning("waiting for the server: %s", state.outcome.exception())

    def _checked(self, response: httpx.Response) -> Mapping[str, Any]:
        """The body of an answer that is one.

        Raises:
            PassingError: it may be another one later.
            ServedModelError: it will not.
        """
        try:
            answer: Any = response.json()
        except (ValueError, RecursionError):
            answer = None
        error = answer.get("error") if isinstance(answer, dict) else response.text or "no JSON"
        status = response.status_code
        if status == httpx.codes.OK and isinstance(answer, dict) and not error:
            return answer
        if isinstance(error, dict):
            code = error.get("code")
            # Some proxies answer 200 and put what went wrong inside.
            status = code if status == httpx.codes.OK and isinstance(code, int) else status
            error = error.get("message")
        said = textwrap.shorten(str(error or answer), _MAX_CHARACTERS, placeholder=" …")
        message = f"The server at {self.url} answered {status} ({said.rstrip('.')})."
        if status in _PASSING_STATUSES or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise PassingError(f"{message} What was computed is kept; run the same again later.")
        remedies = {
            401: "Set language_model.server.key_variable to the name of an environment variable "
            "that holds its key.",
            404: "Expected /v1/models and /v1/completions; a service that only chats has none, and "
            "gives no probabilities of given tokens. Take an engine that has them, such as vLLM.",
        }
        remedies[403] = remedies[401]
        raise ServedModelError(f"{message} {remedies.get(status, '')}".rstrip())


def _objects(told: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; none where a server told something else."""
    return [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
