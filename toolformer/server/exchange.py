"""One request: its texts go into the batch, and the completions to the client."""

import asyncio
import contextlib
import json
import logging
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
from toolformer.errors import SequenceTooLongError
from toolformer.server.answers import Choice
from toolformer.server.api_errors import ApiError, closing, internal, out_of_memory
from toolformer.server.bodies import CompletionBody
from toolformer.server.chat_answers import ChatChoice
from toolformer.server.chat_bodies import ChatCompletionBody
from toolformer.server.request_log import LEFT, RequestRecord
from toolformer.server.served import Served

_LOGGER = logging.getLogger(__name__)


class Exchange:
    """The texts of one request.

    Args:
        record: counts them.
    """

    def __init__(self, served: Served, body: CompletionBody, record: RequestRecord) -> None:
        self._served = served
        self._body = body
        self._record = record
        self._loop = asyncio.get_running_loop()
        self._arrivals: asyncio.Queue[tuple[int, LivePiece | LiveEnd]] = asyncio.Queue()
        self._texts: list[LiveText] = []
        self._choices: list[Choice] = []
        self._completions: dict[int, Completion] = {}
        self._is_over = False
        self._is_chat = is_chat = isinstance(body, ChatCompletionBody)
        self._kind = ChatChoice if is_chat else Choice
        name = "chat.completion" if is_chat else "text_completion"
        self._envelope = {
            "id": f"{'chat' if is_chat else ''}cmpl-{uuid4().hex}",
            "object": f"{name}.chunk" if is_chat and body.stream else name,
            "created": int(time.time()),
            "model": served.model.name,
        }

    async def answer(self, receive: Receive) -> Response:
        """The answer, whole or as a stream.

        Args:
            receive: of the request, whose body has been read: the next message is that the client
                left.

        Raises:
            ApiError: there is no room, the server closes, or a prompt is too long.
        """
        await self._begin()
        self._watcher = asyncio.create_task(self._cancel_when_left(receive))
        if self._body.stream:
            return StreamingResponse(self._events(), media_type="text/event-stream")
        try:
            async for _ in self._parts():
                pass
        except ApiError:
            if self._record.has_left:
                return Response(status_code=LEFT)
            raise
        samples = self._body.n or 1
        choices = [
            # What is known of a prompt is known of the first text behind it.
            choice.whole(self._completions[index], self._texts[index - index % samples])
            for index, choice in enumerate(self._choices)
        ]
        return JSONResponse(self._enveloped(choices, usage=self._record.usage))

    def _enveloped(self, choices: Sequence[Mapping[str, Any]], **further: Any) -> dict[str, Any]:
        return {**self._envelope, "choices": choices, **further}

    async def _begin(self) -> None:
        requests = self._served.live_requests(self._body)
        wanted = self._body.calls_in_text
        has_calls = self._served.calls_in_text if wanted is None else wanted
        tokenizer = self._served.model.tokenizer
        try:
            for index, request in enumerate(requests):
                choice = self._kind(
                    index, request.prompt, self._body, tokenizer, has_calls=has_calls
                )
                self._choices.append(choice)
                # In a thread: a long prompt takes a while to be cut into tokens.
                text = await asyncio.to_thread(
                    self._served.batch.submit, request, partial(self._arrive, index)
                )
                self._texts.append(text)
                if index % (self._body.n or 1) == 0:
                    self._record.prompt_tokens += len(text.prompt_ids)
        except (QueueFullError, BatchClosedError, SequenceTooLongError) as error:
            raise _refused(error, self._body.PROMPT) from error
        finally:
            if len(self._texts) < len(requests):
                self._cancel()

    def _arrive(self, index: int, item: LivePiece | LiveEnd) -> None:
        """Called from the batch's thread."""
        # The loop ends with the server, which need not wait for texts that are cancelled.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrivals.put_nowait, (index, item))

    async def _cancel_when_left(self, receive: Receive) -> None:
        # Also comes when the answer was sent.
        while (await receive())["type"] != "http.disconnect":
            pass
        if not self._is_over:
            self._record.has_left = True
            self._cancel()

    def _cancel(self) -> None:
        for text in self._texts:
            text.cancel()

    async def _parts(self) -> AsyncIterator[dict[str, Any]]:
        """The chunks of all texts as they come.

        Raises:
            ApiError: a text failed or was cancelled, or a chat would be answered with nothing.
        """
        try:
            while len(self._completions) < len(self._texts):
                index, item = await self._arrivals.get()
                if isinstance(item, LivePiece):
                    self._record.count(item)
                    yield self._choices[index].part(item)
                elif item.completion is None:
                    self._is_over = True
                    raise self._failure(item)
                else:
                    self._completions[index] = item.completion
                    self._is_over = len(self._completions) == len(self._texts)
                    if self._is_over and self._is_chat and self._is_empty:
                        raise self._served.empty_answer(self._completions.values())
                    yield self._choices[index].end(item.completion)
        finally:
            # Also where the answer is given up in the middle.
            self._cancel()

    @property
    def _is_empty(self) -> bool:
        """Whether no answer has a word, and none was ended by its limit, which is told."""
        return not any(
            completion.stopped_by == "length" or self._choices[index].told(completion).strip()
            for index, completion in self._completions.items()
        )

    def _failure(self, end: LiveEnd) -> ApiError:
        if end.error is None:
            return closing()
        request_id = self._record.request_id
        _LOGGER.error(
            "a text failed", exc_info=end.error, extra={"fields": {"request_id": request_id}}
        )
        return out_of_memory() if is_out_of_memory(end.error) else internal(request_id)

    async def _events(self) -> AsyncIterator[str]:
        try:
            for choice in self._choices:
                if beginning := choice.beginning():
                    yield _event(self._enveloped([beginning]))
            async for part in self._parts():
                yield _event(self._enveloped([part]))
            if self._body.stream_options and self._body.stream_options.include_usage:
                yield _event(self._enveloped([], usage=self._record.usage))
            yield "data: [DONE]\n\n"
        except ApiError as error:
            yield _event(error.body)


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _refused(error: Exception, param: str) -> ApiError:
    if isinstance(error, BatchClosedError):
        return closing()
    if isinstance(error, QueueFullError):
        return ApiError(429, "The queue is full. Try again in some seconds.", code="queue_full")
    message = f"{error} In a request these are max_tokens and max_calls."
    return ApiError(400, message, param=param, code="context_length_exceeded")
