"""Decodes the requests to a server in a continuous batch: texts join and leave between steps.

A text pauses after the arrow of a call while its tool runs in a thread; other texts continue. The
texts of a batch do not affect each other, except in the last digits of their probabilities.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from toolformer.decoding.decoder import check_length, max_tokens_after_prompt, shared_prefix
from toolformer.decoding.decoding_batch import DecodingBatch
from toolformer.decoding.decoding_row import DecodingRow
from toolformer.decoding.live_text import LiveEnd, LivePiece, LiveRequest, LiveText
from toolformer.errors import OutOfMemoryError, ToolformerError
from toolformer.forward.model import Contexts, Model
from tools.protocol import NO_ANSWER, ToolCall

_LOGGER = logging.getLogger(__name__)
# Maximum number of prompt tokens, including padding, fed between two steps. All texts of the batch
# wait while prompts are fed.
_MAX_PROMPT_TOKENS_PER_STEP = 2048
# A prefix that new texts share is fed once if it has at least this many tokens. Shorter prefixes
# are not worth the additional pass.
_MIN_SHARED_TOKENS = 32


class QueueFullError(ToolformerError): ...


class BatchClosedError(ToolformerError): ...


class LiveBatch:
    """Decodes texts in its own thread, which has sole use of the model; methods are thread-safe.

    `max_active` is the maximum number of texts decoded together, including those that wait for a
    tool. By default it depends on the texts' lengths.
    """

    def __init__(self, model: Model, *, max_waiting: int, max_active: int | None = None):
        self._model = model
        self._fixed_capacity, self._max_waiting = max_active, max_waiting
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
        return len(self._texts)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def start(self) -> None:
        self._thread.start()

    def submit(self, request: LiveRequest, send: Callable[[LivePiece | LiveEnd], None]) -> LiveText:
        """Queue a text; raise if it is too long, the queue is full, or the batch is closed.

        `send` receives the pieces and then one end. It runs in the decoding thread, so it must
        return at once and not raise.
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
                    "The server is shutting down and accepts no more texts. Try again later."
                )
            free = max(0, self._capacity(row) - len(self._texts))
            if len(self._queue) >= free + self._max_waiting:
                raise QueueFullError(
                    f"{len(self._queue)} texts are already waiting. Expected at most "
                    f"{self._max_waiting}. Try again in a moment."
                )
            self._queue.append(text)
            self._changed.notify()
        return text

    def close(self) -> None:
        """Cancel all texts and accept no more."""
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
                self._admit()
                if self._batch.rows:
                    self._batch.step()
                    self._send_on(self._batch.rows)
            except Exception as error:
                # If memory runs out or a bug occurs, the current texts end, but the batch goes on.
                self._batch = self._new_batch()
                is_wanted = self._is_wanted()
                if is_wanted:
                    _LOGGER.exception("%s texts could not be decoded", len(self._texts))
                self._end(list(self._texts), error if is_wanted else None)

    def _wait_for_work(self) -> bool:
        """Wait for work; return False once the batch is closed and empty."""
        with self._changed:
            while True:
                texts = (*self._queue, *self._texts.values())
                if self._is_closed:
                    if not texts:
                        return False
                    for text in texts:
                        text.is_canceled = True
                can_enter = self._queue and len(self._texts) < self._capacity(self._queue[0].row)
                is_any_canceled = any(text.is_canceled for text in texts)
                if self._batch.rows or self._results or can_enter or is_any_canceled:
                    return True
                self._changed.wait()

    def _drop_canceled(self) -> None:
        active = self._end_canceled()
        self._batch.take_out([text.row for text in active])
        for text in active:
            del self._texts[text.row]

    def _end_canceled(self) -> list[LiveText]:
        """Send an end to canceled texts; return those that are being decoded."""
        with self._changed:
            canceled = [text for text in self._queue if text.is_canceled]
            self._queue = deque(text for text in self._queue if not text.is_canceled)
        active = [text for text in self._texts.values() if text.is_canceled]
        for text in (*canceled, *active):
            text.send(LiveEnd(None))
            # The current step can still add a token to its row, which must not be sent.
            text.send = _send_nothing
        return active

    def _is_wanted(self) -> bool:
        """Return whether any client still waits for this step, after ending canceled texts."""
        if threading.current_thread() is not self._thread:
            # The caller is a tool that uses the same model and has its own deadline.
            return True
        return not self._is_closed and len(self._end_canceled()) < len(self._texts)

    def _take_results(self) -> None:
        with self._changed:
            results, self._results = self._results, []
        rows = []
        for text, result, seconds in results:
            if text.row not in self._texts:
                # The text was canceled while its tool was running.
                continue
            calls_before = text.row.calls_so_far
            self._batch.answer(text.row, result)
            if text.row.calls_so_far > calls_before:
                text.seconds.append(seconds)
            rows.append(text.row)
        if resumed := [row for row in rows if row.stopped_by is None]:
            self._batch.resume(resumed)
        self._send_on(rows)

    def _admit(self) -> None:
        entering: list[DecodingRow] = []
        with self._changed:
            max_prompt_tokens = 0
            while self._queue and len(self._texts) < self._capacity(self._queue[0].row):
                max_prompt_tokens = max(max_prompt_tokens, len(self._queue[0].row.pending))
                if (
                    entering
                    and max_prompt_tokens * (len(entering) + 1) > _MAX_PROMPT_TOKENS_PER_STEP
                ):
                    break
                text = self._queue.popleft()
                self._texts[text.row] = text
                entering.append(text.row)
        if entering:
            prefix = shared_prefix(self._model, entering, min_tokens=_MIN_SHARED_TOKENS)
            self._enter(entering, prefix)

    def _enter(self, rows: Sequence[DecodingRow], prefix: Contexts) -> None:
        """Add rows to the batch; end texts that do not fit into memory even on their own."""
        try:
            self._batch.enter(rows, prefix)
        except OutOfMemoryError as error:
            if len(rows) == 1:
                _LOGGER.exception("A text could not be decoded")
                self._end(rows, error)
            else:
                for row in rows:
                    self._enter([row], prefix)
        else:
            self._send_on(rows)

    def _end(self, rows: Sequence[DecodingRow], error: Exception | None) -> None:
        for row in rows:
            self._texts.pop(row).send(LiveEnd(None, error))

    def _capacity(self, row: DecodingRow) -> int:
        """Return how many texts can be decoded together if this one is among them."""
        if self._fixed_capacity:
            return self._fixed_capacity
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
        for row in rows:
            self._texts[row].send_new()
            if row.stopped_by is not None:
                del self._texts[row]
        for row, call in self._batch.take_out():
            self._tools.submit(self._make_call, self._texts[row], call)


def _send_nothing(_: LivePiece | LiveEnd) -> None:
    """Drop the pieces of a canceled text."""
