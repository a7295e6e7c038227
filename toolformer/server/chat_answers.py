"""Choices in OpenAI's shape for chats; see `answers`."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from toolformer.decoding.completions import Completion, DecodedCall, TraceStep
from toolformer.decoding.live_text import LivePiece, LiveText
from toolformer.forward.tokenization import REPLACEMENT_CHARACTER
from toolformer.server.answers import Choice, finite
from toolformer.server.chat_bodies import EXECUTED, ChatCompletionBody


class ChatChoice(Choice):
    """One answer to a chat, piece by piece, without the blanks that it begins with."""

    _has_begun = False
    _calls_listed = 0

    def beginning(self) -> dict[str, Any]:
        """The chunk in front of all others, with the role."""
        return self._event(self._made(""), role="assistant", content="")

    def part(self, piece: LivePiece) -> dict[str, Any]:
        """The chunk of a piece."""
        made = super().part(piece)
        if piece.call is None or not self._lists_calls or "call" not in made["toolformer"]:
            return self._event(made)
        listed = {"index": self._calls_listed, **_listed(piece.call)}
        self._calls_listed += 1
        return self._event(made, tool_calls=[listed])

    def end(self, completion: Completion) -> dict[str, Any]:
        """The last chunk."""
        return self._event(super().end(completion))

    def whole(self, completion: Completion, text: LiveText) -> dict[str, Any]:
        """All of it."""
        made = super().whole(completion, text)
        message = {"role": "assistant", "content": made.pop("text").lstrip(), "refusal": None}
        end = len(self._without_calls(completion))
        calls = [call for call in completion.calls if call.character_offset <= end]
        if self._lists_calls and calls:
            message["tool_calls"] = list(map(_listed, calls))
        return {**made, "message": message}

    @property
    def _lists_calls(self) -> bool:
        return isinstance(self._body, ChatCompletionBody) and self._body.tool_calls_in_message

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


def _listed(call: DecodedCall) -> dict[str, Any]:
    arguments = json.dumps({"input": call.arguments}, ensure_ascii=False)
    function = {"name": call.tool, "arguments": arguments}
    ours = {"id": f"{EXECUTED}{uuid4().hex}", "result": call.result}
    return {"type": "function", "function": function, **ours}


def _token(text: str, log_probability: float) -> dict[str, Any]:
    # Of a part of a character nobody knows the bytes by its text.
    written = None if REPLACEMENT_CHARACTER in text else list(text.encode())
    return {"token": text, "logprob": finite(log_probability), "bytes": written}
