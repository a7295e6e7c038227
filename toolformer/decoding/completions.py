"""What decoding takes and gives: `Decoding`, and the completions with their calls."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Self

from toolformer.settings.annotation_sections import DecodingSettings

StopReason = Literal["end_of_text", "length", "stop_text"]
TokenKind = Literal["sampled", "forced", "trigger", "undone"]


class MinCallProbability(NamedTuple):
    """How likely a call of a tool has to be for it to open, besides the rank of ` [`.

    What is compared is p(` [`) · p(tool | ` [`); see `toolformer.decoding.triggers.identify_tool`.
    0 leaves k alone to decide, as in the paper; 1 opens none.

    Attributes:
        in_text: for every token but the first one.
        behind_prompt: for the first token behind a prompt, which ends where its author wants it.
        by_tool: both for the tools that have values of their own.
    """

    in_text: float
    behind_prompt: float
    by_tool: Mapping[str, "MinCallProbability"] = {}

    @classmethod
    def everywhere(cls, value: float) -> Self:
        """One value for all."""
        return cls(value, value)

    def changed(self, given: float | Mapping[str, float] | None) -> "MinCallProbability":
        """What they are where a user sets a number for all tools, or one for each of some."""
        if given is None:
            return self
        if isinstance(given, Mapping):
            own = {tool: MinCallProbability.everywhere(value) for tool, value in given.items()}
            return self._replace(by_tool={**self.by_tool, **own})
        return MinCallProbability.everywhere(given)

    def at(self, step: int, tools: Iterable[str]) -> dict[str, float]:
        """What holds for each tool at a token outside calls, counted from 0 behind the prompt."""
        own = {tool: self.by_tool.get(tool, self) for tool in tools}
        return {tool: each.in_text if step else each.behind_prompt for tool, each in own.items()}

    @property
    def is_in_range(self) -> bool:
        """Whether all are from 0 to 1."""
        values = [value for own in (self, *self.by_tool.values()) for value in own[:2]]
        return all(0 <= value <= 1 for value in values)

    @property
    def entries(self) -> dict[str, Any]:
        """All by their names in files, tables and answers."""
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
    """How texts are decoded (paper §2, "Inference", and §4.2): settings, and choices of a run.

    A call does not use up `settings.max_new_tokens`, so that answers with and without a call have
    the same room.

    Attributes:
        settings: limits and k. Its minimum probability is not read; see `min_call_probability`.
        max_result_tokens: longest result of a call, in tokens.
        tools: tools that may be called; none disables calls.
        blocked_tools: tools of the model that may not be called here, whether or not they are
            among `tools`.
        min_call_probability: what the settings say, or the model's own; `CLOSED` disables calls.
    """

    settings: DecodingSettings
    max_result_tokens: int
    tools: tuple[str, ...] = ()
    blocked_tools: tuple[str, ...] = ()
    min_call_probability: MinCallProbability = BY_RANK_ONLY

    def changed(self, **settings: object) -> Self:
        """Return the same with other settings, whose values the caller has checked."""
        return replace(self, settings=self.settings.model_copy(update=settings))

    @property
    def is_disabled(self) -> bool:
        """Whether the probability of the opening token is 0 throughout.

        Only of that token: a vocabulary may have others that begin with it, such as ` [[`.
        """
        is_closed = self.min_call_probability == CLOSED
        has_calls = self.tools and self.settings.call_top_k and self.settings.max_calls
        return is_closed or not has_calls

    @property
    def enabled_tools(self) -> tuple[str, ...]:
        """The tools that are not blocked."""
        return tuple(name for name in self.tools if name not in self.blocked_tools)


@dataclass(frozen=True, slots=True)
class DecodedCall:
    """A call that got a result.

    Attributes:
        arguments: as the tool's parser normalised them.
        result: as inserted, cut to the limit.
        character_offset: where the call stands in `Completion.text_without_calls`.
        text: the whole call as decoded, ` [Name(…) -> result]`.
    """

    tool: str
    arguments: str
    result: str
    character_offset: int
    text: str


class UndoneCall(NamedTuple):
    """A call that was taken back: its text from ` [` on, why, and how many tokens it had."""

    text: str
    reason: str
    tokens: int


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One token in the order of decoding.

    Attributes:
        text: its text; the replacement character for part of a character.
        kind: `sampled` by the model, `forced` (result and `]`), `trigger` (the opening token), or
            `undone` (part of a call that was taken back). Losses and counts are over `sampled`.
        call_rank: rank of the opening token among all tokens there, 1 the likeliest; None inside
            calls, where the trigger is inactive, and where a server does not tell it among the
            likeliest.
        call_probability: its probability there; None where there is no rank. Other batches change
            its last digits, so it is not compared.
        log_probability: log-probability of the token itself, in nats, where the model chose it.
        top: the likeliest tokens there, or those that were asked for: id, text, log-probability.
    """

    token: int
    text: str
    kind: TokenKind
    call_rank: int | None
    call_probability: float | None = field(compare=False)
    log_probability: float | None = field(default=None, compare=False)
    top: tuple[tuple[int, str, float], ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Completion:
    """What was decoded behind one prompt.

    Attributes:
        text: the output with its calls; without the token that ended it and without the stop text.
        text_without_calls: the same without calls; benchmarks score this.
        calls: calls with a result, in order. `insert_calls` of their offsets and texts into
            `text_without_calls` gives `text`.
        stopped_by: `end_of_text`, `length` (`max_new_tokens`) or `stop_text`.
        trace: every token, undone ones and the one that ended the text included.
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
        """The tokens behind the prompt, calls and the token that ended the text included."""
        return tuple(step.token for step in self.trace if step.kind != "undone")
