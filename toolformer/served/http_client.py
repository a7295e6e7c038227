"""Requests to a server's completions: many at a time, and again where that may help."""

import itertools
import json
import logging
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import httpx2 as httpx
from pydantic import TypeAdapter
from pydantic_core import from_json
from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event
from tenacity.wait import wait_exception, wait_random_exponential

from toolformer.base.foreign_texts import shown
from toolformer.base.loopback import past_proxies
from toolformer.errors import NoAnswersError, PassingError, ServedModelError
from toolformer.served.answers import (
    CARD,
    CARDS,
    COMPLETIONS,
    Card,
    Choice,
    another_answer,
    in_form,
)

_Answer = TypeVar("_Answer")
_Form = TypeVar("_Form")

_LOGGER = logging.getLogger(__name__)
# It would tell of every request.
logging.getLogger("httpx2").setLevel(logging.WARNING)
# So many texts a server of vLLM has in its batch (128 on a processor, 256 to 1024 on a GPU), of
# which it tells nothing; those of others wait in its queue.
IN_FLIGHT = 256
# A server that waits for its turn on a busy device answers late.
_SECONDS_OF_ANSWER, _SECONDS_OF_CONNECTION = 600.0, 10.0
# The first answer comes soon, or the address is wrong. Later a server may be started again.
_FIRST_PATIENCE, _LATER_PATIENCE = 10.0, 3600.0
_LONGEST_WAIT, _SECONDS_BETWEEN_LOOKS = 20.0, 1.0
# Whoever watches is told after so many seconds without an answer: where requests fail, and where
# nothing comes at all, as of a server that is busy or stuck.
_SECONDS_OF_FAILURE, _SECONDS_OF_SILENCE = 3.0, 20.0
# One answer that was long in coming, and was cut off, may have used up the patience alone.
_LEAST_ATTEMPTS = 3
_PASSING_STATUSES = frozenset({408, 425, 429})
# In the code or type of an error: what was paid for is used up, and no wait gives it back. Quotas
# by the minute are others, such as `token_quota_exceeded`.
_SPENT = ("insufficient_quota", "current_quota", "billing", "balance")
_NO_COMPLETIONS = (
    "Expected /v1/models and /v1/completions; a service that only chats has none, and gives no "
    "probabilities of given tokens. Take an engine that has them, such as vLLM."
)
# Of an answer, and of each token that it tells: several times what vLLM writes.
_LEAST_BYTES, _BYTES_PER_TOKEN = 4 * 2**20, 512
# Shows a line while the block is left open; see `toolformer.home.progress.waiting_shown`.
Waiting = Callable[[str, logging.Logger], AbstractContextManager[None]]


@contextmanager
def _waiting_logged(line: str, log: logging.Logger) -> Iterator[None]:
    log.warning(line)
    yield


class CompletionsClient:
    """Asks a server for completions of token ids.

    Args:
        urls: addresses of servers of the same model, at least one, with or without `/v1`. They are
            asked in turn, also where one is asked again; no proxy is asked for this machine.
        model: the id that `/v1/models` says.
        key: sent as a bearer token.
        waiting: shows that the server is waited for; by default in the log.

    Attributes:
        url: all addresses, for messages.
        tokens_fed: tokens of prompts and completions, as the server counted them.
        is_wanted: whether answers are still waited for; see `Model.ask_while`.
    """

    # What errors call the address, and say of the work that was done.
    _address, _kept = "language_model.server.url", "What was computed is kept. "
    _key_remedy = (
        "Set language_model.server.key_variable to the name of an environment variable that holds "
        "its key."
    )

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        *,
        key: str | None = None,
        waiting: Waiting = _waiting_logged,
    ):
        self._urls = [url.rstrip("/").removesuffix("/v1") + "/v1" for url in urls]
        self.url = " and ".join(self._urls)
        self.model = model
        self.tokens_fed = 0
        self.is_wanted: Callable[[], bool] = lambda: True
        self._patience = _FIRST_PATIENCE
        self._waiting = waiting
        # When the last answer came, and why a request failed since.
        self._answered, self._failure = time.monotonic(), ""
        self._turn = threading.Lock()
        self._completions = itertools.cycle([httpx.URL(f"{url}/completions") for url in self._urls])
        self._key = key
        # A compressed one may be a thousand times as large as what is received.
        self._headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._certificates = httpx.create_ssl_context()
        self._clients: list[httpx.Client] = []
        self._asking: set[threading.Event] = set()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._of_thread = threading.local()
        self._threads = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="served-model")

    def close(self) -> None:
        """End its threads and connections; what another thread asks just now ends in an error."""
        self._break_off()
        self._threads.shutdown(cancel_futures=True)
        for client in self._clients:
            client.close()

    def _break_off(self) -> None:
        with self._turn:
            for is_over in self._asking:
                is_over.set()
            for each in self._sockets:
                # A thread that waits for an answer would not notice that its connection is closed.
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

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

    def described(self) -> Card:
        """What `/v1/models` says of the model.

        Raises:
            ServedModelError: a server cannot be reached, has no such model, or says something else
                of it than the first one.
        """
        cards = [self._card(url) for url in self._urls]
        for name in ("root", "revision", "dtype", "quantization", "max_model_len"):
            if len(told := {str(getattr(card, name)) for card in cards}) > 1:
                raise ServedModelError(
                    f"The servers at {self.url} say that {name} of {self.model!r} is "
                    f"{' and '.join(sorted(told))}. Expected servers of the same model, started "
                    "with the same flags."
                )
        return cards[0]

    def _card(self, url: str) -> Card:
        (answer,) = self._together([lambda: self._answer("GET", f"{url}/models", _LEAST_BYTES)])
        told = self.in_form(answer.get("data"), CARDS)
        cards = {str(card.get("id")): card for card in told}
        if self.model not in cards:
            raise ServedModelError(
                f"The server at {url} has no model {self.model!r}; it has "
                f"{self.shown(', '.join(cards)) or 'none'}. Set language_model.server.model to "
                "one of these."
            )
        return self.in_form(cards[self.model], CARD)

    def complete(self, requests: Sequence[Mapping[str, Any]]) -> list[list[Choice]]:
        """The choices for each request, as many as its `n`; equal requests are sent once.

        Args:
            requests: fields of each, with token ids as `prompt`, but for the model.

        Raises:
            ServedModelError: says what the server refused, or how it differs from what was asked.
        """
        bodies = [json.dumps({"model": self.model, **request}) for request in requests]
        asked = dict(zip(bodies, requests, strict=True))
        answers = self._together([partial(self._choices, *each) for each in asked.items()])
        choices = dict(zip(asked, answers, strict=True))
        return [choices[body] for body in bodies]

    def _choices(self, body: str, asked: Mapping[str, Any]) -> list[Choice]:
        sent, count = len(asked["prompt"]), asked.get("n", 1)
        each = 1 + asked.get("logprobs", 0) + len(asked.get("logprob_token_ids", ()))
        most = (
            sent * (1 + asked.get("prompt_logprobs", 0)) + count * asked.get("max_tokens", 1) * each
        )
        told = self._answer(
            "POST", next(self._completions), _LEAST_BYTES + most * _BYTES_PER_TOKEN, body
        )
        answer = self.in_form(told, COMPLETIONS)
        # vLLM answers so, with the tokens until then, when it is paused or ended meanwhile.
        if any(choice.finish_reason == "abort" for choice in answer.choices):
            raise PassingError(
                f"The server at {self.url} broke off an answer. What was computed is kept; run the "
                "same again later."
            )
        if answer.usage.prompt_tokens != sent:
            counted = answer.usage.prompt_tokens
            what = f"was sent {sent} tokens and counted {counted}, perhaps with a start of its own"
            raise another_answer(self.url, what)
        choices = sorted(answer.choices, key=lambda choice: choice.index)
        if [choice.index for choice in choices] != list(range(count)):
            given = [choice.index for choice in choices]
            raise another_answer(self.url, f"was asked for {count} texts and gave {given}")
        with self._turn:
            self.tokens_fed += sent + (answer.usage.completion_tokens or 0)
        return choices

    def _together(
        self,
        asks: Sequence[Callable[[], _Answer]],
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> list[_Answer]:
        """What is answered to each, with patience."""
        is_over = threading.Event()
        with self._turn:
            self._asking.add(is_over)
        asked = [self._threads.submit(self._with_patience, ask, is_over) for ask in asks]
        try:
            answers: list[_Answer] = []
            for each in self._awaited(asked):
                answers.append(each)
                progress(len(answers), len(asks))
            return answers
        finally:
            # Those that wait behind one that failed, or behind Ctrl-C, wait for nothing.
            is_over.set()
            for each in asked:
                each.cancel()
            with self._turn:
                self._asking.discard(is_over)

    def _awaited(self, asked: Iterable[Future[_Answer]]) -> Iterator[_Answer]:
        """All answers; while none comes, what is waited for is shown."""
        begun = time.monotonic()
        for each in asked:
            while not wait([each], _SECONDS_BETWEEN_LOOKS).done:
                if (line := self._silence(begun)) is not None:
                    with self._waiting(line, _LOGGER):
                        while self._silence(begun) == line:
                            if wait([each], _SECONDS_BETWEEN_LOOKS).done:
                                break
            yield each.result()

    def _silence(self, begun: float) -> str | None:
        """What it means that no answer came since; None while that is not long ago.

        Raises:
            PassingError: no answer is wanted any more. What is asked is broken off.
        """
        if not self.is_wanted():
            self._break_off()
            raise PassingError(f"Nobody waits any more for the server at {self.url}.")
        seconds = time.monotonic() - max(begun, self._answered)
        if self._failure and seconds >= _SECONDS_OF_FAILURE:
            return f"waiting: {self._failure}"
        if seconds >= _SECONDS_OF_SILENCE:
            return f"waiting: the server at {self.url} is busy or stuck"
        return None

    def _with_patience(self, ask: Callable[[], _Answer], is_over: threading.Event) -> _Answer:
        def once() -> _Answer:
            try:
                return ask()
            except httpx.RequestError as error:
                raise PassingError(
                    f"The server at {self.url} does not answer ({type(error).__name__}: "
                    f"{self.shown(error)}). {self._kept}Start it, or correct its address "
                    f"({self._address}), and run the same again."
                    # The cause may have the key, and would be logged with the error.
                ) from None

        answer = Retrying(
            retry=retry_if_exception_type(PassingError),
            wait=wait_random_exponential(multiplier=0.1, max=_LONGEST_WAIT)
            + wait_exception(lambda error: getattr(error, "seconds", 0)),
            stop=lambda state: is_over.is_set() or self._is_over_patience(state),
            sleep=sleep_using_event(is_over),
            before_sleep=self._note,
            reraise=True,
        )(once)
        self._answered, self._failure = time.monotonic(), ""
        return answer

    def _is_over_patience(self, state: RetryCallState) -> bool:
        # By now the server may be known, from what others asked.
        seconds = state.seconds_since_start or 0.0
        return state.attempt_number >= _LEAST_ATTEMPTS and seconds >= self._patience

    def _note(self, state: RetryCallState) -> None:
        if state.outcome is not None:
            self._failure = str(state.outcome.exception()).partition(". ")[0]

    def _answer(
        self, method: str, url: httpx.URL | str, most: int, content: str | None = None
    ) -> Mapping[str, Any]:
        """An answer that is one, of so many bytes at most.

        Raises:
            PassingError: it may be another one later.
            NoAnswersError: it will not, whatever is asked.
            ServedModelError: it will not.
        """
        body = bytearray()
        with self._http.stream(
            method, url, content=content, extensions={"trace": self._keep_socket}
        ) as response:
            status = response.status_code
            for piece in response.iter_raw():
                body += piece
                if len(body) > most:
                    raise another_answer(self.url, f"answered with more than {most:,} bytes")
        try:
            answer: Any = from_json(bytes(body))
        except ValueError:
            answer = None
        is_object = isinstance(answer, dict)
        error = answer.get("error") if is_object else body.decode(errors="replace") or "no JSON"
        if status == httpx.codes.OK and is_object and not error:
            return answer
        raise self._refusal(response, error or answer)

    def _refusal(self, response: httpx.Response, error: object) -> ServedModelError:
        """What an answer means that is none."""
        status, kinds = response.status_code, ""
        if isinstance(error, dict):
            code, kinds = error.get("code"), f"{error.get('code')} {error.get('type')}"
            # Some proxies answer 200 and put what went wrong inside.
            status = code if status == httpx.codes.OK and isinstance(code, int) else status
            error = error.get("message") or error
        message = f"The server at {self.url} answered {status} ({self.shown(error).rstrip('.')})."
        told = response.headers.get("retry-after", "")[:9]
        seconds = int(told) if told.isdecimal() else 0
        is_spent = status == 402 or any(word in kinds for word in _SPENT)
        if is_spent or seconds > _LATER_PATIENCE:
            wish = f" It asks to wait {seconds:,} s." if seconds else ""
            return NoAnswersError(
                f"{message}{wish} That is not waited for. {self._kept}Run the same again once it "
                "answers again."
            )
        if status == httpx.codes.TOO_MANY_REQUESTS:
            # It is there, and may count requests by the minute.
            self.is_known()
        if status in _PASSING_STATUSES or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            # Ours grow to the longest by themselves.
            least = seconds if seconds > _LONGEST_WAIT else 0
            return PassingError(f"{message} {self._kept}Run the same again later.", least)
        if status == httpx.codes.UNAUTHORIZED:
            return NoAnswersError(f"{message} {self._key_remedy}")
        remedies = {403: self._key_remedy, 404: _NO_COMPLETIONS}
        return ServedModelError(f"{message} {remedies.get(status, '')}".rstrip())

    def _keep_socket(self, event: str, told: Mapping[str, Any]) -> None:
        """Called for what happens to a connection."""
        stream = told.get("return_value")
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")) and stream:
            with self._turn:
                self._sockets.add(stream.get_extra_info("socket"))

    def in_form(self, told: object, form: TypeAdapter[_Form]) -> _Form:
        """See `toolformer.served.answers.in_form`."""
        return in_form(told, form, self.url, self._key)

    def shown(self, told: object) -> str:
        """What the server wrote, as it may stand in a message; without the key."""
        return shown(told, key=self._key)
