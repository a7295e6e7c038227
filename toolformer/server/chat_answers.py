"""Choices in OpenAI's shape for chats; see `answers`."""

from collections.abc import Sequence
from typing import Any

from toolformer.decoding.completions import Completion, TraceStep
from toolformer.decoding.live_text import LivePiece, LiveText
from toolformer.forward.tokenization import REPLACEMENT_CHARACTER
from toolformer.server.answers import Choice, finite


class ChatChoice(Choice):
    """One answer to a chat, piece by piece, without the blanks that it begins with."""

    _has_begun = False

    def beginning(self) -> dict[str, Any]:
        """The chunk in front of all others, with the role."""
        return self._event(self._made(""), role="assistant", content="")

    def part(self, piece: LivePiece) -> dict[str, Any]:
        """The chunk of a piece."""
        return self._event(super().part(piece))

    def end(self, completion: Completion) -> dict[str, Any]:
        """The last chunk."""
        return self._event(super().end(completion))

    def whole(self, completion: Completion, text: LiveText) -> dict[str, Any]:
        """All of it."""
        made = super().whole(completion, text)
        message = {"role": "assistant", "content": made.pop("text").lstrip(), "refusal": None}
        return {**made, "message": message}

    def _event(self, made: dict[str, Any], **delta: Any) -> dict[str, Any]:
        made = dict(made)
        text = made.pop("text")
        if new := text if self._has_begun else text.lstrip():
            self._has_begun = True
            delta["content"] = new
        return {**made, "delta": delta}

    def _log_probabilities(self, steps: Sequence[TraceStep], _: Any) -> dict[str, list[Any]] | None:
        if self._body.logprobs is None:
            return None
        told = []
        for step in steps:
            # The model did not choose results.
            if step.log_probability is not None:
                top = [_token(text, value) for _, text, value in step.top]
                told.append({**_token(step.text, step.log_probability), "top_logprobs": top})
        return {"content": told}


def _token(text: str, log_probability: float) -> dict[str, Any]:
    # Of a part of a character nobody knows the bytes by its text.
    written = None if REPLACEMENT_CHARACTER in text else list(text.encode())
    return {"token": text, "logprob": finite(log_probability), "bytes": written}
