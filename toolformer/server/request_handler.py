"""Handles one request: submits its texts to the batch and returns or streams the answer."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive

from toolformer.base.loading import is_out_of_memory
from toolformer.decoding.completions import Completion
from toolformer.decoding.live_batch import BatchClosedError, QueueFullError
from toolformer.decoding.live_text import LiveEnd, LivePiece, LiveText
from toolformer.errors import SequenceTooLongError, ServedModelError
from toolformer.forward.tokenization import IncrementalDecoder
from toolformer.server.answers import ChatChoice, Choice
from toolformer.server.api_errors import ApiError, closing, internal, out_of_memory
from toolformer.server.chat_bodies import Body, ChatBody
from toolformer.server.model_service import ModelService


class RequestHandler:
    """Handler of one request. It owns the request's texts in the batch and builds their answer."""

    def __init__(self, served: ModelService, body: Body) -> None:
        self._served, self._body = served, body
        self._loop = asyncio.get_running_loop()
        self._arrivals: asyncio.Queue[tuple[int, LivePiece | LiveEnd]] = asyncio.Queue()
        self._texts: list[LiveText] = []
        self._choices: list[Choice] = []
        self._completions: dict[int, Completion] = {}
        self._completion_tokens = 0
        self._is_chat = is_chat = isinstance(body, ChatBody)
        name = "chat.completion" if is_chat else "text_completion"
        self._envelope = {
            "id": f"{'chat' if is_chat else ''}cmpl-{uuid4().hex}",
            "object": f"{name}.chunk" if is_chat and body.stream else name,
            "created": int(time.time()),
            "model": served.model.name,
        }

    async def answer(self, receive: Receive) -> Response:
        """Return the answer as one response or as a stream.

        The body must have been read from `receive`, so that its next message is the disconnect.
        """
        # Tokenising a long prompt takes a while and would block the event loop.
        await asyncio.to_thread(self._submit)
        self._watcher = asyncio.create_task(self._cancel_on_disconnect(receive))
        if self._body.stream:
            return StreamingResponse(self._events(), media_type="text/event-stream")
        async for _ in self._chunks():
            pass
        choices = [
            choice.full_choice(self._completions[index])
            for index, choice in enumerate(self._choices)
        ]
        return JSONResponse(self._enveloped(choices, usage=self._usage))

    def _submit(self) -> None:
        requests = self._served.live_requests(self._body)
        shows_calls = self._body.shows_calls(self._served.calls_in_text)
        kind = ChatChoice if self._is_chat else Choice
        try:
            for index, request in enumerate(requests):
                is_continuation = bool(request.prompt_ids)
                decoder = IncrementalDecoder(
                    self._served.model.tokenizer, is_continuation=is_continuation
                )
                self._choices.append(kind(index, self._body, decoder, shows_calls=shows_calls))
                send = partial(self._arrive, index)
                self._texts.append(self._served.batch.submit(request, send))
        except (QueueFullError, BatchClosedError, SequenceTooLongError) as error:
            self._cancel()
            raise _refused(error, self._body.PROMPT) from error

    def _arrive(self, index: int, item: LivePiece | LiveEnd) -> None:
        """Pass an item from the batch's thread to the event loop."""
        # The loop may be closed already: a stopping server does not wait for cancelled texts.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrivals.put_nowait, (index, item))

    async def _cancel_on_disconnect(self, receive: Receive) -> None:
        # This message also arrives after a complete answer. Cancelling then has no effect.
        while (await receive())["type"] != "http.disconnect":
            pass
        self._cancel()

    def _cancel(self) -> None:
        for text in self._texts:
            text.cancel()

    async def _chunks(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the chunks of all texts as they arrive.

        Raises an `ApiError` if a text fails or is cancelled, or if all answers to a chat are empty.
        """
        try:
            while len(self._completions) < len(self._texts):
                index, item = await self._arrivals.get()
                if isinstance(item, LivePiece):
                    self._completion_tokens += sum(step.kind != "undone" for step in item.steps)
                    yield self._choices[index].chunk(item)
                elif item.completion is None:
                    raise _failure(item)
                else:
                    self._completions[index] = item.completion
                    is_last = len(self._completions) == len(self._texts)
                    if is_last and self._is_chat and self._is_empty:
                        raise self._served.empty_answer(self._completions.values())
                    yield self._choices[index].last_chunk(item.completion)
        finally:
            # The consumer may stop iterating before all texts have ended.
            self._cancel()

    @property
    def _is_empty(self) -> bool:
        """Whether all answers are blank and none of them was cut off by the token limit."""
        return not any(
            completion.stopped_by == "length" or self._choices[index].text(completion).strip()
            for index, completion in self._completions.items()
        )

    async def _events(self) -> AsyncIterator[str]:
        try:
            for choice in self._choices:
                if first_chunk := choice.first_chunk():
                    yield _event(self._enveloped([first_chunk]))
            async for chunk in self._chunks():
                yield _event(self._enveloped([chunk]))
            if self._body.stream_options and self._body.stream_options.include_usage:
                yield _event(self._enveloped([], usage=self._usage))
            yield "data: [DONE]\n\n"
        except ApiError as error:
            yield _event(error.body)

    def _enveloped(self, choices: Sequence[Mapping[str, Any]], **further: Any) -> dict[str, Any]:
        return {**self._envelope, "choices": choices, **further}

    @property
    def _usage(self) -> dict[str, int]:
        """Token counts as in OpenAI's API. Calls and results count as completion tokens."""
        prompt_tokens = sum(text.row.prompt_tokens for text in self._texts[:: self._body.n or 1])
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "total_tokens": prompt_tokens + self._completion_tokens,
        }


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _failure(end: LiveEnd) -> ApiError:
    if end.error is None:
        return closing()
    if isinstance(end.error, ServedModelError):
        return ApiError(502, str(end.error), code="model_server_failed")
    return out_of_memory() if is_out_of_memory(end.error) else internal()


def _refused(error: Exception, param: str) -> ApiError:
    if isinstance(error, BatchClosedError):
        return closing()
    if isinstance(error, QueueFullError):
        return ApiError(429, "The queue is full. Try again in a few seconds.", code="queue_full")
    message = f"{error} In a request, these settings are max_tokens and max_calls."
    return ApiError(400, message, param=param, code="context_length_exceeded")
