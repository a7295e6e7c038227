"""Formats choices in OpenAI's response format and adds a `toolformer` field with the calls."""

from collections.abc import Mapping, Sequence
from typing import Any

from toolformer.decoding.completions import Completion, TraceStep
from toolformer.decoding.live_text import LivePiece
from toolformer.forward.tokenization import REPLACEMENT_CHARACTER, IncrementalDecoder
from toolformer.server.chat_bodies import Body

# OpenAI's value for minus infinity, which JSON cannot represent.
_MIN_LOG_PROBABILITY = -9999.0
_FINISH_REASONS = {"end_of_text": "stop", "stop_text": "stop", "length": "length"}


class Choice:
    """One choice of a completion, returned as a stream of chunks or as a whole.

    Args:
        decoder: Decoder without tokens. It accumulates the tokens of this choice.
        shows_calls: Whether the returned text contains the calls.
    """

    def __init__(
        self, index: int, body: Body, decoder: IncrementalDecoder, *, shows_calls: bool
    ) -> None:
        self._index, self._body, self._decoder = index, body, decoder
        self._shows_calls = shows_calls
        self._chunks: list[Mapping[str, Any]] = []

    def first_chunk(self) -> dict[str, Any] | None:
        return None

    def chunk(self, piece: LivePiece) -> dict[str, Any]:
        extension: dict[str, Any] = {}
        if piece.call is not None or piece.undone is not None:
            extension["call"] = _call(piece)
        if self._body.call_probabilities:
            extension["tokens"] = [
                {"text": step.text, "kind": step.kind, "call_probability": step.call_probability}
                for step in piece.steps
            ]
        if piece.call is not None and not self._shows_calls:
            chunk = self._choice("", extension)
        else:
            chunk = self._choice(piece.text, extension, piece.steps)
        self._chunks.append(chunk)
        return chunk

    def last_chunk(self, completion: Completion) -> dict[str, Any]:
        extension = {"text_without_calls": completion.text_without_calls}
        return self._choice("", extension, (), completion)

    def full_choice(self, completion: Completion) -> dict[str, Any]:
        """Return the whole choice, for a response that is not streamed."""
        extensions = [chunk["toolformer"] for chunk in self._chunks]
        merged: dict[str, Any] = {
            "text_without_calls": completion.text_without_calls,
            "calls": [extension["call"] for extension in extensions if "call" in extension],
        }
        if self._body.call_probabilities:
            merged["tokens"] = [token for extension in extensions for token in extension["tokens"]]
        choice = self._choice(self.text(completion), merged, (), completion)
        for chunk in self._chunks:
            for name, values in (chunk["logprobs"] or {}).items():
                choice["logprobs"][name] += values
        return choice

    def text(self, completion: Completion) -> str:
        return completion.text if self._shows_calls else completion.text_without_calls

    def _choice(
        self,
        text: str,
        extension: Mapping[str, Any],
        steps: Sequence[TraceStep] = (),
        completion: Completion | None = None,
    ) -> dict[str, Any]:
        # Undone tokens were removed from the text, and log-probabilities are listed per text token.
        visible_steps = [step for step in steps if step.kind != "undone"]
        has_log_probabilities = self._body.top_tokens is not None
        return {
            "index": self._index,
            "text": text,
            "finish_reason": completion and _FINISH_REASONS[completion.stopped_by],
            "logprobs": self._log_probabilities(visible_steps) if has_log_probabilities else None,
            "toolformer": {**extension},
        }

    def _log_probabilities(self, steps: Sequence[TraceStep]) -> dict[str, list[Any]]:
        offsets = []
        for step in steps:
            # All tokens of a multi-token character have the offset of that character.
            offsets.append(len(self._decoder.text.rstrip(REPLACEMENT_CHARACTER)))
            self._decoder.add(step.token)
        return {
            "tokens": [step.text for step in steps],
            "token_logprobs": [_finite(step.log_probability) for step in steps],
            "top_logprobs": [_top_logprobs(step) for step in steps],
            "text_offset": offsets,
        }


class ChatChoice(Choice):
    """Choice of a chat completion, with leading white space removed from the message."""

    _has_begun = False

    def first_chunk(self) -> dict[str, Any]:
        """Return the first chunk, which contains only the role of the message."""
        return self._with_delta(self._choice("", {}), role="assistant", content="")

    def chunk(self, piece: LivePiece) -> dict[str, Any]:
        return self._with_delta(super().chunk(piece))

    def last_chunk(self, completion: Completion) -> dict[str, Any]:
        return self._with_delta(super().last_chunk(completion))

    def full_choice(self, completion: Completion) -> dict[str, Any]:
        choice = super().full_choice(completion)
        message = {"role": "assistant", "content": choice.pop("text").lstrip(), "refusal": None}
        return {**choice, "message": message}

    def _with_delta(self, choice: dict[str, Any], **delta: Any) -> dict[str, Any]:
        choice = dict(choice)
        text = choice.pop("text")
        if new := text if self._has_begun else text.lstrip():
            self._has_begun = True
            delta["content"] = new
        return {**choice, "delta": delta}

    def _log_probabilities(self, steps: Sequence[TraceStep]) -> dict[str, list[Any]]:
        scored_tokens = []
        for step in steps:
            # Tokens of tool results have no log-probability, because the model did not choose them.
            if step.log_probability is not None:
                top = [_token(text, value) for _, text, value in step.top]
                scored_tokens.append(
                    {**_token(step.text, step.log_probability), "top_logprobs": top}
                )
        return {"content": scored_tokens}


def _call(piece: LivePiece) -> dict[str, Any]:
    call, undone = piece.call, piece.undone
    fields = {
        "tool": call and call.tool,
        "arguments": call and call.arguments,
        "result": call and call.result,
        "character_offset": call and call.character_offset,
        "milliseconds": call and round(1000 * piece.seconds, 3),
        "undone": undone is not None,
    }
    if undone is not None:
        return {**fields, "text": undone.text, "reason": undone.reason}
    return {**fields, "text": piece.text}


def _top_logprobs(step: TraceStep) -> dict[str, float]:
    """Return OpenAI's `top_logprobs` field: the most likely tokens and the chosen token."""
    if step.log_probability is None:
        return {}
    logprob_by_text: dict[str, float] = {}
    for _, text, value in (*step.top, (step.token, step.text, step.log_probability)):
        # Partial-character tokens all decode to U+FFFD. Keep the most likely one.
        logprob_by_text[text] = max(value, logprob_by_text.get(text, _MIN_LOG_PROBABILITY))
    return logprob_by_text


def _token(text: str, log_probability: float) -> dict[str, Any]:
    # The bytes of a partial character are unknown, because its text is only U+FFFD.
    utf8 = None if REPLACEMENT_CHARACTER in text else list(text.encode())
    return {"token": text, "logprob": _finite(log_probability), "bytes": utf8}


def _finite(log_probability: float | None) -> float | None:
    return None if log_probability is None else max(log_probability, _MIN_LOG_PROBABILITY)
