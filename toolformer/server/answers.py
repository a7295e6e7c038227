"""Choices in OpenAI's shape for completions, with the calls beside the text."""

from collections.abc import Mapping, Sequence
from typing import Any

from toolformer.decoding.completions import Completion, DecodedCall, TraceStep
from toolformer.decoding.live_text import LivePiece, LiveText, before_stop, uncertain_characters
from toolformer.decoding.prompt_steps import PromptStep, TokenOffsets
from toolformer.forward.tokenization import Tokenizer
from toolformer.server.bodies import CompletionBody

# JSON has no infinity; this is what OpenAI writes for it.
_MIN_LOG_PROBABILITY = -9999.0
_FINISH_REASONS = {"end_of_text": "stop", "stop_text": "stop", "length": "length"}
_OF_CALLS = ("tool", "arguments", "result", "character_offset", "milliseconds")


class Choice:
    """One continued prompt, piece by piece.

    Args:
        index: its place among the choices.
        has_calls: whether the calls stand in its text.
    """

    def __init__(
        self,
        index: int,
        prompt: str,
        body: CompletionBody,
        tokenizer: Tokenizer,
        *,
        has_calls: bool,
    ) -> None:
        self._index = index
        self._echo = prompt if body.echo else ""
        self._body = body
        self._has_calls = has_calls
        self._offsets = TokenOffsets(tokenizer, len(self._echo))
        self._parts: list[Mapping[str, Any]] = []
        # Of the completion's trace, without what was undone.
        self._steps_told = 0
        self._token_ids: list[int] = []
        # Outside calls, where they do not stand in the text.
        self._text = ""
        self._characters_sent = 0
        # Whether a stop text has come about that a call stood in the midst of.
        self._is_cut = False

    def beginning(self) -> dict[str, Any] | None:
        """The chunk in front of all others, where there is one: the prompt, to be repeated."""
        return self._made(self._echo) if self._echo else None

    def part(self, piece: LivePiece) -> dict[str, Any]:
        """The chunk of a piece."""
        if self._is_cut:
            # The decoder does not see where the text has ended.
            piece = LivePiece("", ())
        ours: dict[str, Any] = {}
        if piece.call is not None:
            ours["call"] = _answered(piece.call, piece.seconds)
        if (undone := piece.undone) is not None:
            told = {"text": undone.text, "reason": undone.reason, "undone": True}
            ours["call"] = {**dict.fromkeys(_OF_CALLS), **told}
        if self._body.call_probabilities:
            ours["tokens"] = [
                {"text": step.text, "kind": step.kind, "call_probability": step.call_probability}
                for step in piece.steps
            ]
        kept = [step for step in piece.steps if step.kind != "undone"]
        self._steps_told += len(kept)
        text = piece.text
        if not self._has_calls and piece.call is not None:
            text, kept = "", []
        self._token_ids += [step.token for step in kept]
        offsets = [self._offsets.add(step.token, step.text) for step in kept]
        logprobs = self._log_probabilities(kept, offsets)
        part = self._made(text if self._has_calls else self._new(text), ours, logprobs=logprobs)
        self._parts.append(part)
        return part

    def end(self, completion: Completion) -> dict[str, Any]:
        """The last chunk, with the token that ended the text."""
        without_calls = self._without_calls(completion)
        text = "" if self._has_calls else without_calls[self._characters_sent :]
        ours = {"text_without_calls": without_calls}
        return self._made(text, ours, logprobs=self._rest(completion), ended=completion)

    def whole(self, completion: Completion, text: LiveText) -> dict[str, Any]:
        """All of it.

        Args:
            text: what was submitted for it.
        """
        parts = [part["toolformer"] for part in self._parts]
        without_calls = self._without_calls(completion)
        ours: dict[str, Any] = {
            "text_without_calls": without_calls,
            # Its stop text may have come about around a call.
            "calls": [
                part["call"]
                for part in parts
                if "call" in part and (part["call"]["character_offset"] or 0) <= len(without_calls)
            ],
        }
        if self._body.call_probabilities:
            ours["tokens"] = [token for part in parts for token in part["tokens"]]
        logprobs = self._log_probabilities([], [])
        if logprobs is not None:
            if echoed := text.prompt_steps if self._body.echo else ():
                logprobs = _log_probabilities(echoed, [step.offset for step in echoed], self._body)
            for more in (*(part["logprobs"] for part in self._parts), self._rest(completion)):
                for name, values in (more or {}).items():
                    logprobs[name] += values
        told = self._echo + self.told(completion)
        made = self._made(told, ours, logprobs=logprobs, ended=completion)
        if self._body.prompt_logprobs is not None:
            made["prompt_logprobs"] = [
                _prompt_log_probabilities(step, self._body.prompt_logprobs)
                for step in text.prompt_steps
            ]
        if self._body.return_token_ids:
            ids = [*self._token_ids, *(step.token for step in self._rest_steps(completion))]
            made |= {"prompt_token_ids": text.prompt_ids, "token_ids": ids}
        return made

    def told(self, completion: Completion) -> str:
        """The text of the answer, with its calls if they stand in texts."""
        return completion.text if self._has_calls else self._without_calls(completion)

    def _new(self, text: str) -> str:
        """What may be sent where this is added to the text outside calls."""
        self._text += text
        certain = before_stop(self._text, self._body.stop_texts)
        self._is_cut = len(certain) < len(self._text)
        if not self._is_cut:
            held_back = uncertain_characters(certain, self._body.stop_texts)
            certain = certain[: len(certain) - held_back]
        new = certain[self._characters_sent :]
        self._characters_sent += len(new)
        return new

    def _without_calls(self, completion: Completion) -> str:
        text = completion.text_without_calls
        return text if self._has_calls else before_stop(text, self._body.stop_texts)

    def _rest(self, completion: Completion) -> dict[str, list[Any]] | None:
        steps = self._rest_steps(completion)
        return self._log_probabilities(steps, [self._offsets.end] * len(steps))

    def _rest_steps(self, completion: Completion) -> list[TraceStep]:
        kept = [step for step in completion.trace if step.kind != "undone"]
        return [] if self._is_cut else kept[self._steps_told :]

    def _log_probabilities(
        self, steps: Sequence[TraceStep], offsets: Sequence[int], /
    ) -> dict[str, list[Any]] | None:
        """OpenAI's `logprobs`, where they are asked for."""
        is_wanted = self._body.logprobs is not None
        return _log_probabilities(steps, offsets, self._body) if is_wanted else None

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
            "finish_reason": ended
            and _FINISH_REASONS["stop_text" if self._is_cut else ended.stopped_by],
            "logprobs": logprobs,
            "toolformer": {**(ours or {})},
        }


def _answered(call: DecodedCall, seconds: float) -> dict[str, Any]:
    return {
        "tool": call.tool,
        "arguments": call.arguments,
        "result": call.result,
        "text": call.text,
        "character_offset": call.character_offset,
        "milliseconds": round(1000 * seconds, 3),
        "undone": False,
    }


def _log_probabilities(
    steps: Sequence[TraceStep | PromptStep], offsets: Sequence[int], body: CompletionBody
) -> dict[str, list[Any]]:
    """OpenAI's `logprobs` of steps that begin at offsets."""

    def name(token: int, text: str) -> str:
        return f"token_id:{token}" if body.return_tokens_as_token_ids else text

    def likeliest(step: TraceStep | PromptStep) -> dict[str, float] | None:
        of_prompt = isinstance(step, PromptStep)
        if step.log_probability is None:
            return None if of_prompt else {}
        top = step.top[: body.logprobs] if of_prompt else step.top
        named: dict[str, float] = {}
        for token, text, value in (*top, (step.token, step.text, step.log_probability)):
            key = name(token, text)
            # Parts of characters share their text, which then stands for the likeliest.
            named[key] = max(value, named.get(key, _MIN_LOG_PROBABILITY))
        return named

    return {
        "tokens": [name(step.token, step.text) for step in steps],
        "token_logprobs": [finite(step.log_probability) for step in steps],
        "top_logprobs": [likeliest(step) for step in steps],
        "text_offset": list(offsets),
    }


def _prompt_log_probabilities(step: PromptStep, count: int) -> dict[str, Any] | None:
    """A place of vLLM's `prompt_logprobs`: the given token, and so many of the likeliest."""
    if step.log_probability is None:
        return None
    others = [(rank, *other) for rank, other in enumerate(step.top[:count], start=1)]
    given = (step.rank, step.token, step.text, step.log_probability)
    return {
        str(token): {"logprob": finite(value), "rank": rank, "decoded_token": text}
        for rank, token, text, value in (*others, given)
    }


def finite(log_probability: float | None) -> float | None:
    """A log probability that JSON can hold."""
    return None if log_probability is None else max(log_probability, _MIN_LOG_PROBABILITY)
