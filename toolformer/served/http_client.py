"""HTTP client of a completion server, with concurrent requests and retries."""

import asyncio
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import httpx2 as httpx
from pydantic import TypeAdapter
from pydantic_core import from_json
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from toolformer.base.loopback import bypass_proxies
from toolformer.base.untrusted_text import shown
from toolformer.errors import ServedModelError, ServerUnavailableError, TransientServerError
from toolformer.served.answers import (
    CARD,
    CARDS,
    COMPLETIONS,
    Card,
    Choice,
    in_form,
    unexpected_answer,
)

_Answer = TypeVar("_Answer")
_Form = TypeVar("_Form")
_Ask = Callable[[], Coroutine[Any, Any, _Answer]]

_LOGGER = logging.getLogger(__name__)
# httpx would log every request.
logging.getLogger("httpx2").setLevel(logging.WARNING)
IN_FLIGHT = 256
"""Maximum number of concurrent requests. vLLM batches 128 requests on a processor and 256 to 1024
on a GPU; servers with smaller batches queue the rest."""
# A pool searches all of its connections for each request, so each pool has only a few.
_POOLS = 16
# Long, because a server on a busy device answers late.
_TIMEOUT = httpx.Timeout(600.0, connect=10.0, pool=None)
# Seconds during which failed requests are retried. At first short, to report a wrong address soon;
# after a successful probe long, because the server may be restarted.
_FIRST_PATIENCE, _LATER_PATIENCE = 10.0, 3600.0
# A single answer that was cut off late may exceed the patience, so there are always some retries.
_MIN_ATTEMPTS = 3
_MAX_RETRY_DELAY, _POLL_SECONDS = 20.0, 1.0
# Seconds without an answer until the user is informed, with and without a failed request.
_SECONDS_OF_FAILURE, _SECONDS_OF_SILENCE = 3.0, 20.0
_RETRY_STATUSES = frozenset({408, 425, 429})
_KEY_REMEDY = (
    "Set language_model.server.key_variable to the name of an environment variable that contains "
    "the server's key."
)
_REMEDIES = {
    401: _KEY_REMEDY,
    403: _KEY_REMEDY,
    404: "Expected /v1/models and /v1/completions, which chat-only services do not have. Use an "
    "engine that has them, such as vLLM.",
}
# Shows a line until the context exits; see `toolformer.home.progress.show_waiting`.
Waiting = Callable[[str, logging.Logger], AbstractContextManager[None]]


class CompletionsClient:
    """Requests completions of token ids from a server; safe to share between threads.

    Args:
        url: address of the server, with or without `/v1`. Requests to this machine use no proxy.
        model: id in `/v1/models`.
        key: sent as a bearer token.
        waiting: shows that the client waits for the server.
    """

    def __init__(
        self, url: str, model: str, *, key: str | None = None, waiting: Waiting | None = None
    ):
        self.url = url.rstrip("/").removesuffix("/v1") + "/v1"
        self.model = model
        self.tokens_fed = 0
        self.is_wanted: Callable[[], bool] = lambda: True
        self._key = key
        self._waiting = waiting or (lambda *_: nullcontext())
        self._patience = _FIRST_PATIENCE
        # Time of the last answer, and reason of the last failure after it.
        self._answered, self._failure = time.monotonic(), ""
        headers = {"content-type": "application/json"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        certificates = httpx.create_ssl_context()
        self._pools = [
            httpx.AsyncClient(
                base_url=self.url,
                headers=headers,
                verify=certificates,
                timeout=_TIMEOUT,
                limits=httpx.Limits(max_connections=IN_FLIGHT // _POOLS),
                **bypass_proxies(self.url),
            )
            for _ in range(_POOLS)
        ]
        self._next_pool = itertools.cycle(self._pools)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="served-model", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Close the connections; requests of other threads raise TransientServerError."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _shut_down(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pool in self._pools:
            await pool.aclose()

    def extend_patience(self) -> None:
        """From now on, retry for an hour instead of seconds, since the server passed its probe."""
        self._patience = _LATER_PATIENCE

    def model_card(self) -> Card:
        """Return the entry of the model in `/v1/models`, or raise ServedModelError."""
        (answer,) = self._together([partial(self._once, "GET", "models")])
        cards = {str(card.get("id")): card for card in self.in_form(answer.get("data"), CARDS)}
        if self.model not in cards:
            raise ServedModelError(
                f"The server at {self.url} has no model {self.model!r}, only "
                f"{self.shown(', '.join(cards)) or 'none'}. Set language_model.server.model to "
                "one of its models."
            )
        return self.in_form(cards[self.model], CARD)

    def complete(self, requests: Sequence[Mapping[str, Any]]) -> list[list[Choice]]:
        """Return the `n` choices of each request; equal requests are sent once.

        Raises ServedModelError if the server refuses a request or sends an unexpected answer.
        """
        bodies = [json.dumps({"model": self.model, **request}) for request in requests]
        asked = dict(zip(bodies, requests, strict=True))
        answers = self._together([partial(self._completed, *each) for each in asked.items()])
        choices = dict(zip(asked, answers, strict=True))
        return [choices[body] for body in bodies]

    async def _completed(self, body: str, asked: Mapping[str, Any]) -> list[Choice]:
        sent, count = len(asked["prompt"]), asked.get("n", 1)
        answer = self.in_form(await self._once("POST", "completions", body), COMPLETIONS)
        # vLLM returns the tokens so far with this reason if it is paused or stopped.
        if any(choice.finish_reason == "abort" for choice in answer.choices):
            raise TransientServerError(
                f"The server at {self.url} aborted an answer. Finished work is kept. Run the same "
                "command again later."
            )
        if answer.usage.prompt_tokens != sent:
            counted = answer.usage.prompt_tokens
            what = f"counted {counted} tokens instead of {sent} and may have added a start token"
            raise unexpected_answer(self.url, what)
        choices = sorted(answer.choices, key=lambda choice: choice.index)
        if [choice.index for choice in choices] != list(range(count)):
            indices = [choice.index for choice in choices]
            raise unexpected_answer(self.url, f"returned the choices {indices} instead of {count}")
        self.tokens_fed += sent + (answer.usage.completion_tokens or 0)
        return choices

    def _together(self, asks: Sequence[_Ask[_Answer]]) -> list[_Answer]:
        """Return all answers, in order; the first error cancels the other requests."""

        async def gathered() -> list[_Answer]:
            tasks = [asyncio.ensure_future(self._with_patience(ask)) for ask in asks]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

        future = asyncio.run_coroutine_threadsafe(gathered(), self._loop)
        try:
            return self._awaited(future)
        except CancelledError as error:
            raise TransientServerError(
                f"The connection to the server at {self.url} was closed."
            ) from error
        finally:
            # This also runs on Ctrl-C.
            future.cancel()

    def _awaited(self, future: Future[_Answer]) -> _Answer:
        """Return the result of a future; show the reason while waiting long for it."""
        begun = time.monotonic()
        while not wait([future], _POLL_SECONDS).done:
            if (line := self._silence(begun)) is not None:
                with self._waiting(line, _LOGGER):
                    while self._silence(begun) == line:
                        if wait([future], _POLL_SECONDS).done:
                            break
        return future.result()

    def _silence(self, begun: float) -> str | None:
        """Return the reason for a long wait, if there is one; raise if it is no longer wanted."""
        if not self.is_wanted():
            raise TransientServerError(f"The request to the server at {self.url} was cancelled.")
        seconds = time.monotonic() - max(begun, self._answered)
        if self._failure and seconds >= _SECONDS_OF_FAILURE:
            return f"waiting: {self._failure}"
        if seconds >= _SECONDS_OF_SILENCE:
            return f"waiting: the server at {self.url} is busy or stuck"
        return None

    async def _with_patience(self, ask: _Ask[_Answer]) -> _Answer:
        answer = await AsyncRetrying(
            retry=retry_if_exception_type(TransientServerError),
            wait=wait_random_exponential(multiplier=0.1, max=_MAX_RETRY_DELAY),
            # A function, because the patience may grow while a request is retried.
            stop=lambda state: (
                state.attempt_number >= _MIN_ATTEMPTS
                and (state.seconds_since_start or 0.0) >= self._patience
            ),
            before_sleep=self._record_failure,
            reraise=True,
        )(ask)
        self._answered, self._failure = time.monotonic(), ""
        return answer

    def _record_failure(self, state: RetryCallState) -> None:
        if state.outcome is not None:
            self._failure = str(state.outcome.exception()).partition(". ")[0]

    async def _once(self, method: str, path: str, content: str | None = None) -> Mapping[str, Any]:
        """Return the server's JSON answer, or raise TransientServerError if a retry may help."""
        try:
            response = await next(self._next_pool).request(method, path, content=content)
        except httpx.RequestError as error:
            raise TransientServerError(
                f"The server at {self.url} does not answer ({type(error).__name__}: "
                f"{self.shown(error)}). Finished work is kept. Start the server or correct its "
                "address (language_model.server.url). Then run the same command again."
                # The cause may contain the key and would be logged with the error.
            ) from None
        try:
            answer: Any = from_json(response.content)
        except ValueError:
            answer = {"error": response.text or "no JSON"}
        error = answer.get("error") if isinstance(answer, dict) else answer
        if response.is_success and isinstance(answer, dict) and not error:
            return answer
        raise self._refusal(response.status_code, error or answer)

    def _refusal(self, status: int, error: object) -> ServedModelError:
        if isinstance(error, dict):
            error = error.get("message") or error
        message = f"The server at {self.url} answered {status} ({self.shown(error).rstrip('.')})."
        if status in _RETRY_STATUSES or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return TransientServerError(
                f"{message} Finished work is kept. Run the same command again later."
            )
        # The key is wrong, or the paid quota is used up.
        kind = ServerUnavailableError if status in (401, 402) else ServedModelError
        return kind(f"{message} {_REMEDIES.get(status, '')}".rstrip())

    def in_form(self, answer: object, form: TypeAdapter[_Form]) -> _Form:
        return in_form(answer, form, self.url, self._key)

    def shown(self, text: object) -> str:
        """Return text of the server such that messages may show it, without the key."""
        return shown(text, key=self._key)
