"""Defines inputs and outputs of decoding: settings, completions, and their calls and traces."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Self

from toolformer.settings.annotation_sections import DecodingSettings

StopReason = Literal["end_of_text", "length", "stop_text"]
TokenKind = Literal["sampled", "forced", "trigger", "undone"]


class MinCallProbability(NamedTuple):
    """Minimum of p(` [`) · p(tool | ` [`) for a call to open, in addition to the rank of ` [`.

    0 leaves the decision to the rank, as in the paper; 1 opens no call. `behind_prompt` applies to
    the first token after a prompt, `in_text` to all later tokens.
    """

    in_text: float
    behind_prompt: float
    by_tool: Mapping[str, "MinCallProbability"] = {}

    @classmethod
    def everywhere(cls, value: float) -> Self:
        return cls(value, value)

    def changed(self, given: float | Mapping[str, float] | None) -> "MinCallProbability":
        """Return a copy with the user's value for all tools, or with values for some tools."""
        if given is None:
            return self
        if isinstance(given, Mapping):
            own = {tool: MinCallProbability.everywhere(value) for tool, value in given.items()}
            return self._replace(by_tool={**self.by_tool, **own})
        return MinCallProbability.everywhere(given)

    def at(self, step: int, tools: Iterable[str]) -> dict[str, float]:
        """Return each tool's minimum at token `step`, counted from 0 after the prompt."""
        own = {tool: self.by_tool.get(tool, self) for tool in tools}
        return {tool: each.in_text if step else each.behind_prompt for tool, each in own.items()}

    @property
    def is_in_range(self) -> bool:
        values = [value for own in (self, *self.by_tool.values()) for value in own[:2]]
        return all(0 <= value <= 1 for value in values)

    @property
    def entries(self) -> dict[str, Any]:
        return {
            "min_call_probability": self.in_text,
            "min_call_probability_behind_prompt": self.behind_prompt,
            "min_call_probability_by_tool": {
                tool: {"in_text": own.in_text, "behind_prompt": own.behind_prompt}
                for tool, own in self.by_tool.items()
            },
        }


BY_RANK_ONLY = MinCallProbability.everywhere(0.0)
CLOSED = MinCallProbability.everywhere(1.0)


@dataclass(frozen=True, slots=True)
class Decoding:
    """Settings for decoding texts (paper §2, "Inference", and §4.2).

    Attributes:
        settings: limits and k; their minimum probability is ignored. `max_new_tokens` excludes
            calls, so calls do not shorten the rest of the output.
        blocked_tools: tools that the model knows but may not call; they need not be in `tools`.
        min_call_probability: from the settings or the model's calibration; `CLOSED` disables calls.
    """

    settings: DecodingSettings
    max_result_tokens: int
    tools: tuple[str, ...] = ()
    blocked_tools: tuple[str, ...] = ()
    min_call_probability: MinCallProbability = BY_RANK_ONLY

    def changed(self, **settings: object) -> Self:
        """Return a copy with other settings, which are not validated."""
        return replace(self, settings=self.settings.model_copy(update=settings))

    @property
    def is_disabled(self) -> bool:
        """Whether ` [` is never emitted; longer tokens such as ` [[` still can be."""
        is_closed = self.min_call_probability == CLOSED
        has_calls = self.tools and self.settings.call_top_k and self.settings.max_calls
        return is_closed or not has_calls

    @property
    def enabled_tools(self) -> tuple[str, ...]:
        return tuple(name for name in self.tools if name not in self.blocked_tools)


@dataclass(frozen=True, slots=True)
class DecodedCall:
    """A call with its inserted result; its offset refers to `Completion.text_without_calls`."""

    tool: str
    arguments: str
    result: str
    character_offset: int
    text: str


class UndoneCall(NamedTuple):
    text: str
    reason: str
    tokens: int


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One token in the order of decoding.

    Attributes:
        kind: `sampled` by the model, `forced` (result and `]`), `trigger` (the opening token), or
            `undone` (part of an undone call). Losses and token counts cover only `sampled`.
        call_rank: rank of the opening token at this step, 1 for the most likely token; None inside
            calls, if calls are disabled, and if a server does not report it.
        log_probability: of this token, in nats; None if the model did not choose it.
        top: id, text and log-probability of the most likely tokens, or of the requested ones.
    """

    token: int
    text: str
    kind: TokenKind
    call_rank: int | None
    # Not compared, because the last digits of probabilities depend on the batch.
    call_probability: float | None = field(compare=False)
    log_probability: float | None = field(default=None, compare=False)
    top: tuple[tuple[int, str, float], ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Completion:
    """The text decoded after one prompt, without the token or stop text that ended it.

    Benchmarks score `text_without_calls`. The trace has all tokens, including undone ones and the
    one that ended the text.
    """

    prompt: str
    text: str
    text_without_calls: str
    calls: tuple[DecodedCall, ...]
    undone_calls: tuple[UndoneCall, ...]
    stopped_by: StopReason
    trace: tuple[TraceStep, ...]

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(step.token for step in self.trace if step.kind != "undone")
