"""Choices in OpenAI's shape for completions, with the calls beside the text."""

from collections.abc import Mapping, Sequence
from typing import Any

from toolformer.decoding.completions import Completion, TraceStep
from toolformer.decoding.live_text import LivePiece, TimedCall
from toolformer_server.bodies import CompletionBody

# JSON has no infinity; this is what OpenAI writes for it.
_MIN_LOG_PROBABILITY = -9999.0
_FINISH_REASONS = {"end_of_text": "stop", "stop_text": "stop", "length": "length"}
_OF_CALLS = ("tool", "arguments", "result", "character_offset", "milliseconds")


class Choice:
    """One continued prompt, piece by piece.

    Args:
        index: index of the prompt.
        prompt: the prompt.
        body: the request.
    """

    def __init__(self, index: int, prompt: str, body: CompletionBody) -> None:
        self._index = index
        self._echo = prompt if body.echo else ""
        self._body = body
        self._offset = len(self._echo)
        self._parts: list[Mapping[str, Any]] = []

    def echo(self) -> dict[str, Any] | None:
        """The chunk in front of all others, where the prompt is to be repeated."""
        return self._made(self._echo) if self._echo else None

    def part(self, piece: LivePiece) -> dict[str, Any]:
        """The chunk of a piece."""
        ours: dict[str, Any] = {}
        if piece.call is not None:
            ours["call"] = _answered(piece.call)
        if piece.undone is not None:
            text, reason = piece.undone
            nothing = dict.fromkeys(_OF_CALLS)
            ours["call"] = {**nothing, "text": text, "reason": reason, "undone": True}
        if self._body.call_probabilities:
            ours["tokens"] = [
                {"text": step.text, "kind": step.kind, "call_probability": step.call_probability}
                for step in piece.steps
            ]
        logprobs = None
        if self._body.logprobs is not None:
            kept = [step for step in piece.steps if step.kind != "undone"]
            logprobs = _log_probabilities(kept, self._offset, len(piece.text))
        self._offset += len(piece.text)
        part = self._made(piece.text, ours, logprobs=logprobs)
        self._parts.append(part)
        return part

    def end(self, completion: Completion) -> dict[str, Any]:
        """The last chunk."""
        return self._made(
            "", {"text_without_calls": completion.text_without_calls}, ended=completion
        )

    def whole(self, completion: Completion) -> dict[str, Any]:
        """All of it."""
        parts = [part["toolformer"] for part in self._parts]
        ours: dict[str, Any] = {
            "text_without_calls": completion.text_without_calls,
            "calls": [part["call"] for part in parts if "call" in part],
        }
        if self._body.call_probabilities:
            ours["tokens"] = [token for part in parts for token in part["tokens"]]
        logprobs = None
        if self._body.logprobs is not None:
            logprobs = _log_probabilities([], 0, 0)
            for part in self._parts:
                for name, values in part["logprobs"].items():
                    logprobs[name] += values
        return self._made(self._echo + completion.text, ours, logprobs=logprobs, ended=completion)

    def _made(
        self,
        text: str,
        ours: Mapping[str, Any] | None = None,
        *,
        logprobs: Mapping[str, Any] | None = None,
        ended: Completion | None = None,
    ) -> dict[str, Any]:
        return {
            "index": self._index,
            "text": text,
            "finish_reason": ended and _FINISH_REASONS[ended.stopped_by],
            "logprobs": logprobs,
            "toolformer": {**(ours or {})},
        }


def _answered(timed: TimedCall) -> dict[str, Any]:
    call = timed.call
    return {
        "tool": call.tool,
        "arguments": call.arguments,
        "result": call.result,
        "text": call.text,
        "character_offset": call.character_offset,
        "milliseconds": round(1000 * timed.seconds, 3),
        "undone": False,
    }


def _log_probabilities(
    steps: Sequence[TraceStep], offset: int, characters: int
) -> dict[str, list[Any]]:
    """OpenAI's `logprobs` of a piece that begins at an offset and has so many characters."""
    offsets, end = [], 0
    for step in steps:
        # A part of a character counts as one until the character is whole.
        offsets.append(offset + min(end, characters))
        end += len(step.text)
    return {
        "tokens": [step.text for step in steps],
        "token_logprobs": [_finite(step.log_probability) for step in steps],
        "top_logprobs": [{text: _finite(value) for text, value in step.top} for step in steps],
        "text_offset": offsets,
    }


def _finite(log_probability: float | None) -> float | None:
    return None if log_probability is None else max(log_probability, _MIN_LOG_PROBABILITY)
