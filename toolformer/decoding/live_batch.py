"""Continuous batching: texts join a batch that is being decoded, and leave it when they end.

A text pauses after the arrow of a call while its tool runs in a thread, and the others go on. The
result is then fed in one piece. A text does not depend on the others, except in the last digits of
its numbers.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from toolformer.decoding.decoder import check_length, max_tokens_after_prompt, shared_opening
from toolformer.decoding.decoding_batch import DecodingBatch
from toolformer.decoding.decoding_row import DecodingRow
from toolformer.decoding.live_text import LiveEnd, LivePiece, LiveRequest, LiveText
from toolformer.errors import OutOfMemoryError, ToolformerError
from toolformer.forward.model import Contexts, Model
from tools.protocol import NO_ANSWER, ToolCall

_LOGGER = logging.getLogger(__name__)
# Most tokens of prompts that are fed between two steps, padding included: the other texts wait.
_ENTERING_TOKENS = 2048
# A prefix that texts share when they enter is fed once if it is longer: that takes another step.
_SHARED_TOKENS = 32


class QueueFullError(ToolformerError):
    """The queue of waiting texts is full."""


class BatchClosedError(ToolformerError):
    """The batch takes no more texts."""


class LiveBatch:
    """Decodes texts in a thread of its own; its methods can be called from any thread.

    Args:
        model: the model; nobody else uses it meanwhile.
        max_active: maximum number of texts decoded together, including those waiting for a tool; by
            default as many as the model takes of their lengths.
        max_waiting: maximum number of texts in the queue.

    Attributes:
        max_active: maximum number of texts decoded together, however short.
    """

    def __init__(self, model: Model, *, max_waiting: int, max_active: int | None = None):
        self._model = model
        self._given, self._max_waiting = max_active, max_waiting
        self.max_active = max_active or model.rows_at_once(row_tokens=1)
        self._batch = self._new_batch()
        self._changed = threading.Condition()
        self._queue: deque[LiveText] = deque()
        self._texts: dict[DecodingRow, LiveText] = {}
        # Results of tools since the last step, each with the seconds that the tool took.
        self._results: list[tuple[LiveText, str | None, float]] = []
        self._tools = ThreadPoolExecutor(self.max_active, thread_name_prefix="call")
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)
        model.ask_while(self._is_wanted)

    @property
    def active(self) -> int:
        """Number of texts that are being decoded."""
        return len(self._texts)

    @property
    def waiting(self) -> int:
        """Number of texts in the queue."""
        return len(self._queue)

    def start(self) -> None:
        """Start decoding."""
        self._thread.start()

    def submit(self, request: LiveRequest, send: Callable[[LivePiece | LiveEnd], None]) -> LiveText:
        """Queue a text.

        Args:
            send: receives the pieces and then one end. The decoding thread calls it, so it must
                return at once and raise nothing.

        Returns:
            The text, which can be canceled.

        Raises:
            SequenceTooLongError: the prompt leaves no room for its continuation.
            QueueFullError: the batch and the queue are full.
            BatchClosedError: `close` was called.
        """
        tokenizer, ids = self._model.tokenizer, request.prompt_ids
        if ids is None:
            ids = tokenizer.encode(request.prompt)
        ids = [self._model.bos_id, *ids]
        row = DecodingRow(0, request.prompt, ids, tokenizer, request.settings)
        check_length(self._model, row, "The prompt")
        text = LiveText(request, row, send, self._wake)
        with self._changed:
            if self._is_closed:
                raise BatchClosedError(
                    "The server is closing and takes no more texts. Try again later."
                )
            free = max(0, self._places(row) - len(self._texts))
            if len(self._queue) >= free + self._max_waiting:
                raise QueueFullError(
                    f"{len(self._queue)} texts wait already. Expected at most {self._max_waiting}; "
                    "ask again in a moment."
                )
            self._queue.append(text)
            self._changed.notify()
        return text

    def close(self) -> None:
        """Cancel all texts and take no more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()
        self._tools.shutdown(wait=False, cancel_futures=True)

    def _new_batch(self) -> DecodingBatch:
        return DecodingBatch(self._model, self._model.end_ids)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                self._drop_canceled()
                self._take_results()
                self._let_enter()
                if self._batch.rows:
                    self._batch.step()
                    self._send_on(self._batch.rows)
            except Exception as error:
                # Memory ran out, or there is a defect: these texts end, and the batch goes on.
                self._batch = self._new_batch()
                is_wanted = self._is_wanted()
                if is_wanted:
                    _LOGGER.exception("%s texts could not be decoded", len(self._texts))
                self._end(list(self._texts), error if is_wanted else None)

    def _wait_for_work(self) -> bool:
        """Wait for work; return False when the batch is closed and empty."""
        with self._changed:
            while True:
                texts = (*self._queue, *self._texts.values())
                if self._is_closed:
                    if not texts:
                        return False
                    for text in texts:
                        text.is_canceled = True
                can_enter = self._queue and len(self._texts) < self._places(self._queue[0].row)
                is_any_canceled = any(text.is_canceled for text in texts)
                if self._batch.rows or self._results or can_enter or is_any_canceled:
                    return True
                self._changed.wait()

    def _drop_canceled(self) -> None:
        active = self._tell_canceled()
        self._batch.take_out([text.row for text in active])
        for text in active:
            del self._texts[text.row]

    def _tell_canceled(self) -> list[LiveText]:
        """Send the end of canceled texts; return those that are being decoded."""
        with self._changed:
            canceled = [text for text in self._queue if text.is_canceled]
            self._queue = deque(text for text in self._queue if not text.is_canceled)
        active = [text for text in self._texts.values() if text.is_canceled]
        for text in (*canceled, *active):
            text.send(LiveEnd(None))
            # During a step its row still gets a token.
            text.send = _send_nothing
        return active

    def _is_wanted(self) -> bool:
        """Return whether a client waits for this step; end canceled texts meanwhile."""
        if threading.current_thread() is not self._thread:
            # A tool asks the same model, and has a deadline of its own.
            return True
        return not self._is_closed and len(self._tell_canceled()) < len(self._texts)

    def _take_results(self) -> None:
        with self._changed:
            results, self._results = self._results, []
        rows = []
        for text, result, seconds in results:
            if text.row not in self._texts:
                # Canceled meanwhile.
                continue
            calls_before = text.row.calls_so_far
            self._batch.answer(text.row, result)
            if text.row.calls_so_far > calls_before:
                text.seconds.append(seconds)
            rows.append(text.row)
        if resumed := [row for row in rows if row.stopped_by is None]:
            self._batch.resume(resumed)
        self._send_on(rows)

    def _let_enter(self) -> None:
        entering: list[DecodingRow] = []
        with self._changed:
            longest = 0
            while self._queue and len(self._texts) < self._places(self._queue[0].row):
                longest = max(longest, len(self._queue[0].row.pending))
                if entering and longest * (len(entering) + 1) > _ENTERING_TOKENS:
                    break
                text = self._queue.popleft()
                self._texts[text.row] = text
                entering.append(text.row)
        if entering:
            opening = shared_opening(self._model, entering, least=_SHARED_TOKENS)
            self._enter(entering, opening)

    def _enter(self, rows: Sequence[DecodingRow], opening: Contexts) -> None:
        """Take rows into the batch, but for those that memory does not hold even alone."""
        try:
            self._batch.enter(rows, opening)
        except OutOfMemoryError as error:
            if len(rows) == 1:
                _LOGGER.exception("A text could not be decoded")
                self._end(rows, error)
            else:
                for row in rows:
                    self._enter([row], opening)
        else:
            self._send_on(rows)

    def _end(self, rows: Sequence[DecodingRow], error: Exception | None) -> None:
        for row in rows:
            self._texts.pop(row).send(LiveEnd(None, error))

    def _places(self, row: DecodingRow) -> int:
        """Return how many texts can be decoded together, this one and those that are among them."""
        if self._given:
            return self._given
        lengths = (
            1 + each.prompt_tokens + max_tokens_after_prompt(each.decoding)
            for each in (row, *tuple(self._texts))
        )
        return self._model.rows_at_once(row_tokens=max(lengths))

    def _make_call(self, text: LiveText, call: ToolCall) -> None:
        began = time.perf_counter()
        result: str | None = NO_ANSWER
        try:
            result = text.request.run_call(call)
        except Exception:
            _LOGGER.exception("A call of %s failed", call.tool_name)
        seconds = time.perf_counter() - began
        with self._changed:
            self._results.append((text, result, seconds))
            self._changed.notify()

    def _send_on(self, rows: Sequence[DecodingRow]) -> None:
        """Send new pieces of some rows and start their complete calls."""
        for row in rows:
            self._texts[row].send_new()
            if row.stopped_by is not None:
                del self._texts[row]
        for row, call in self._batch.take_out():
            self._tools.submit(self._make_call, self._texts[row], call)


def _send_nothing(_: LivePiece | LiveEnd) -> None:
    """Drop pieces of a text that was canceled."""
