"""The choices of an answer in OpenAI's shape, with the calls beside the text."""

from collections.abc import Mapping, Sequence
from typing import Any

from toolformer.decoding.completions import Completion, TraceStep
from toolformer.decoding.live_text import LivePiece
from toolformer.forward.tokenization import REPLACEMENT_CHARACTER, IncrementalDecoder
from toolformer.server.chat_bodies import Body

# JSON has no infinity; this is the number that OpenAI writes for it.
_MIN_LOG_PROBABILITY = -9999.0
_FINISH_REASONS = {"end_of_text": "stop", "stop_text": "stop", "length": "length"}


class Choice:
    """One choice of a completion, chunk by chunk.

    Args:
        written: collects the tokens of the text; empty.
        has_calls: whether the calls stand in the text.
    """

    def __init__(
        self, index: int, body: Body, written: IncrementalDecoder, *, has_calls: bool
    ) -> None:
        self._index, self._body, self._written = index, body, written
        self._has_calls = has_calls
        self._parts: list[Mapping[str, Any]] = []

    def beginning(self) -> dict[str, Any] | None:
        """Return the chunk before all others, if there is one."""
        return None

    def part(self, piece: LivePiece) -> dict[str, Any]:
        """Return the chunk of a piece."""
        ours: dict[str, Any] = {}
        if piece.call is not None or piece.undone is not None:
            ours["call"] = _call(piece)
        if self._body.call_probabilities:
            ours["tokens"] = [
                {"text": step.text, "kind": step.kind, "call_probability": step.call_probability}
                for step in piece.steps
            ]
        if piece.call is not None and not self._has_calls:
            part = self._made("", ours)
        else:
            part = self._made(piece.text, ours, piece.steps)
        self._parts.append(part)
        return part

    def end(self, completion: Completion) -> dict[str, Any]:
        """Return the last chunk."""
        return self._made("", {"text_without_calls": completion.text_without_calls}, (), completion)

    def whole(self, completion: Completion) -> dict[str, Any]:
        """Return all chunks in one."""
        parts = [part["toolformer"] for part in self._parts]
        ours: dict[str, Any] = {
            "text_without_calls": completion.text_without_calls,
            "calls": [part["call"] for part in parts if "call" in part],
        }
        if self._body.call_probabilities:
            ours["tokens"] = [token for part in parts for token in part["tokens"]]
        made = self._made(self.text(completion), ours, (), completion)
        for part in self._parts:
            for name, values in (part["logprobs"] or {}).items():
                made["logprobs"][name] += values
        return made

    def text(self, completion: Completion) -> str:
        """Return the text of the answer."""
        return completion.text if self._has_calls else completion.text_without_calls

    def _made(
        self,
        text: str,
        ours: Mapping[str, Any],
        steps: Sequence[TraceStep] = (),
        ended: Completion | None = None,
    ) -> dict[str, Any]:
        kept = [step for step in steps if step.kind != "undone"]
        return {
            "index": self._index,
            "text": text,
            "finish_reason": ended and _FINISH_REASONS[ended.stopped_by],
            "logprobs": None if self._body.top_tokens is None else self._log_probabilities(kept),
            "toolformer": {**ours},
        }

    def _log_probabilities(self, steps: Sequence[TraceStep]) -> dict[str, list[Any]]:
        offsets = []
        for step in steps:
            # Parts of a character begin together.
            offsets.append(len(self._written.text.rstrip(REPLACEMENT_CHARACTER)))
            self._written.add(step.token)
        return {
            "tokens": [step.text for step in steps],
            "token_logprobs": [_finite(step.log_probability) for step in steps],
            "top_logprobs": [_likeliest(step) for step in steps],
            "text_offset": offsets,
        }


class ChatChoice(Choice):
    """One answer to a chat, chunk by chunk, without the blanks that it begins with."""

    _has_begun = False

    def beginning(self) -> dict[str, Any]:
        """Return the chunk with the role."""
        return self._event(self._made("", {}), role="assistant", content="")

    def part(self, piece: LivePiece) -> dict[str, Any]:
        """Return the chunk of a piece."""
        return self._event(super().part(piece))

    def end(self, completion: Completion) -> dict[str, Any]:
        """Return the last chunk."""
        return self._event(super().end(completion))

    def whole(self, completion: Completion) -> dict[str, Any]:
        """Return all chunks in one."""
        made = super().whole(completion)
        message = {"role": "assistant", "content": made.pop("text").lstrip(), "refusal": None}
        return {**made, "message": message}

    def _event(self, made: dict[str, Any], **delta: Any) -> dict[str, Any]:
        made = dict(made)
        text = made.pop("text")
        if new := text if self._has_begun else text.lstrip():
            self._has_begun = True
            delta["content"] = new
        return {**made, "delta": delta}

    def _log_probabilities(self, steps: Sequence[TraceStep]) -> dict[str, list[Any]]:
        content = []
        for step in steps:
            # The model did not choose results.
            if step.log_probability is not None:
                top = [_token(text, value) for _, text, value in step.top]
                content.append({**_token(step.text, step.log_probability), "top_logprobs": top})
        return {"content": content}


def _call(piece: LivePiece) -> dict[str, Any]:
    call, undone = piece.call, piece.undone
    told = {
        "tool": call and call.tool,
        "arguments": call and call.arguments,
        "result": call and call.result,
        "character_offset": call and call.character_offset,
        "milliseconds": call and round(1000 * piece.seconds, 3),
        "undone": undone is not None,
    }
    if undone is not None:
        return {**told, "text": undone.text, "reason": undone.reason}
    return {**told, "text": piece.text}


def _likeliest(step: TraceStep) -> dict[str, float]:
    """Return OpenAI's `top_logprobs` of a token: the most likely ones, and the token itself."""
    if step.log_probability is None:
        return {}
    named: dict[str, float] = {}
    for _, text, value in (*step.top, (step.token, step.text, step.log_probability)):
        # Parts of characters share their text, which then stands for the likeliest.
        named[text] = max(value, named.get(text, _MIN_LOG_PROBABILITY))
    return named


def _token(text: str, log_probability: float) -> dict[str, Any]:
    # The text of a part of a character does not say which bytes it has.
    written = None if REPLACEMENT_CHARACTER in text else list(text.encode())
    return {"token": text, "logprob": _finite(log_probability), "bytes": written}


def _finite(log_probability: float | None) -> float | None:
    return None if log_probability is None else max(log_probability, _MIN_LOG_PROBABILITY)
