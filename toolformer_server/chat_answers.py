"""Choices in OpenAI's shape for chats; see `answers`."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import uuid4

from toolformer.decoding.completions import Completion, TraceStep
from toolformer.decoding.live_text import LivePiece, LiveText
from toolformer.forward.tokenization import REPLACEMENT_CHARACTER
from toolformer_server.answers import Choice, finite
from toolformer_server.chat_bodies import EXECUTED, ChatCompletionBody


class ChatChoice(Choice):
    """One answer to a chat, piece by piece, without the blanks that it begins with."""

    ID: ClassVar[str] = "chatcmpl"
    OBJECT: ClassVar[str] = "chat.completion"
    EVENT: ClassVar[str] = "chat.completion.chunk"

    def __init__(
        self, index: int, prompt: str, body: ChatCompletionBody, *, has_calls: bool
    ) -> None:
        super().__init__(index, prompt, body, has_calls=has_calls)
        self._lists_calls = body.tool_calls_in_message
        self._has_begun = False
        self._tool_calls: list[dict[str, Any]] = []

    def beginning(self) -> dict[str, Any]:
        """The chunk in front of all others, with the role."""
        return self._event(self._made(""), {"role": "assistant", "content": ""})

    def part(self, piece: LivePiece) -> dict[str, Any]:
        """The chunk of a piece."""
        made = super().part(piece)
        delta = {}
        if piece.call is not None and self._lists_calls:
            call = piece.call.call
            arguments = json.dumps({"input": call.arguments}, ensure_ascii=False)
            listed = {
                "id": f"{EXECUTED}{uuid4().hex}",
                "type": "function",
                "function": {"name": call.tool, "arguments": arguments},
                "result": call.result,
            }
            delta["tool_calls"] = [{"index": len(self._tool_calls), **listed}]
            self._tool_calls.append(listed)
        return self._event(made, delta)

    def end(self, completion: Completion) -> dict[str, Any]:
        """The last chunk."""
        return self._event(super().end(completion), {})

    def whole(self, completion: Completion, text: LiveText) -> dict[str, Any]:
        """All of it."""
        made = super().whole(completion, text)
        message = {"role": "assistant", "content": made.pop("text").lstrip(), "refusal": None}
        if self._tool_calls:
            message["tool_calls"] = self._tool_calls
        return {**made, "message": message}

    def _event(self, made: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in made.items() if name != "text"}
        text = made["text"] if self._has_begun else made["text"].lstrip()
        self._has_begun = self._has_begun or bool(text)
        return {**rest, "delta": {**({"content": text} if text else {}), **delta}}

    def _log_probabilities(
        self,
        steps: Sequence[TraceStep],
        characters: int,  # noqa: ARG002
    ) -> dict[str, list[Any]] | None:
        """OpenAI's `logprobs` of a chat, of the tokens that the model chose."""
        if self._body.logprobs is None:
            return None
        return {
            "content": [
                {
                    **_token(step.text, step.log_probability),
                    "top_logprobs": [_token(text, value) for _, text, value in step.top],
                }
                for step in steps
                if step.log_probability is not None
            ]
        }


def _token(text: str, log_probability: float) -> dict[str, Any]:
    # Of a part of a character nobody knows the bytes by its text.
    written = None if REPLACEMENT_CHARACTER in text else list(text.encode())
    return {"token": text, "logprob": finite(log_probability), "bytes": written}
