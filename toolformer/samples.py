"""What a sampled call is: where its sampling ends, how it is read, and its key."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolformer.base.digests import digest, hex_digest
from toolformer.forward.windows import Window
from toolformer.settings.annotation_sections import SamplingSettings
from tools.errors import CallSyntaxError
from tools.peeking import TextWords
from tools.prompting import demonstrations_of
from tools.syntax import CALL_CLOSE, CALL_OPEN, parse_sample

# Reasons of the engine itself; the others come from `tools.syntax`.
DUPLICATE = "duplicate"
INVALID_ARGUMENTS = "invalid_arguments"
REPEATS_DEMONSTRATION = "repeats_demonstration"

# How a sample came about: all of it the model's choice, at a place that the tool proposes, or as a
# call that the tool proposes.
NOT_PROPOSED = "none"
PROPOSED_POSITION = "position"
PROPOSED_CALL = "call"


@dataclass(frozen=True, slots=True)
class SampledCall:
    """One sample, or proposed call, parsed or not.

    `arguments` is None if they could not be parsed. `call_probability` is None if all proposals of
    the tool were taken, so that no position had to be chosen.
    """

    call_id: str
    document_id: str
    window_index: int
    position: int
    character_offset: int
    call_probability: float | None
    sample_index: int
    arguments: str | None
    sample_text: str
    status: str
    reason: str | None
    proposed: str


@dataclass(frozen=True, slots=True)
class CallReader:
    """Finds the end of a sampled call while it is being sampled.

    Attributes:
        is_constrained: the opening bracket of the call was forced, so its closing one ends it.
    """

    is_constrained: bool

    def end(self, text: str) -> int | None:
        """How much of `text` belongs to the sample; None while it is not finished.

        A line break or, in constrained sampling, an opening square bracket can never become part
        of a call, so they end it too.
        """
        depth = 1
        for index, character in enumerate(text):
            if character in "]\n":
                return index + (character == "]")
            if self.is_constrained:
                if character == "[":
                    return index + 1
                depth += (character == "(") - (character == ")")
                if depth == 0:
                    return index + 1
        return None

    @staticmethod
    def may_finish(token_text: str) -> bool:
        """Whether a sample can end with a token of this text."""
        return any(mark in token_text for mark in ("]", "\n", "[", ")"))

    def is_finished(self, token_texts: Sequence[str]) -> bool:
        """Whether the sampled tokens so far need no continuation."""
        return self.may_finish(token_texts[-1]) and self.end("".join(token_texts)) is not None


def forced_text(tool_name: str, *, is_constrained: bool) -> list[str]:
    """The pieces of text that are forced at a chosen position."""
    return [CALL_OPEN, f"{tool_name}("] if is_constrained else [CALL_OPEN]


def sample_text_of(sampled: str, tool_name: str, *, is_constrained: bool) -> str:
    """What stands after ` [`, from the sampled part alone, cut where the call ends."""
    end = CallReader(is_constrained).end(sampled)
    text = sampled if end is None else sampled[:end]
    if not is_constrained:
        return text
    # The bracket that was forced open makes one closing bracket more than opening ones.
    is_closed = text.count(")") > text.count("(")
    return f"{tool_name}({text}{CALL_CLOSE if is_closed else ''}"


def proposed_text(tool_name: str, arguments: str) -> str:
    """What stands after ` [` for a call that was not sampled."""
    return f"{tool_name}({arguments}){CALL_CLOSE}"


def call_id(
    document_id: str,
    window_index: int,
    tool_name: str,
    position: int,
    sample_index: int,
    round_: int,
) -> str:
    """Key of one sample: a digest of what it is a sample of."""
    return hex_digest(document_id, window_index, tool_name, position, sample_index, round_)


def branch_uniforms(
    seed: int,
    document_id: str,
    window_index: int,
    tool_name: str,
    position: int,
    sample_index: int,
    *,
    count: int,
) -> np.ndarray:
    """The random numbers of one branch: its own, whatever else is sampled beside it."""
    branch_digest = digest(seed, document_id, window_index, tool_name, position, sample_index)
    key = int.from_bytes(branch_digest, "little")
    return np.random.Generator(np.random.Philox(key=key)).random(count)


def parse_samples(
    window: Window,
    position: int,
    call_probability: float | None,
    sampled: Sequence[str],
    *,
    tool_name: str,
    parse_arguments: Callable[[str], str],
    sampling: SamplingSettings,
    proposed: str = NOT_PROPOSED,
) -> Iterator[SampledCall]:
    """Parse the samples of one position; equal calls after the first are duplicates.

    Of a proposed call `sampled` has all that stands after ` [`, see `proposed_text`.
    """
    offset = window.offsets[position]
    if offset is None:
        raise ValueError(f"Position {position} lies inside a character of the window.")
    seen: set[str] = set()
    for sample_index, text in enumerate(sampled):
        sample_text = (
            text
            if proposed == PROPOSED_CALL
            else sample_text_of(text, tool_name, is_constrained=sampling.is_constrained)
        )
        arguments: str | None = None
        reason: str | None = None
        try:
            raw_arguments = parse_sample(sample_text, tool_name)
            try:
                arguments = parse_arguments(raw_arguments)
            except CallSyntaxError:
                arguments, reason = raw_arguments, INVALID_ARGUMENTS
        except CallSyntaxError as error:
            reason = error.reason
        if reason is None and arguments is not None:
            if arguments in seen:
                reason = DUPLICATE
            seen.add(arguments)
        yield SampledCall(
            call_id=call_id(
                window.document_id, window.index, tool_name, position, sample_index, sampling.round
            ),
            document_id=window.document_id,
            window_index=window.index,
            position=position,
            character_offset=window.start + offset,
            call_probability=call_probability,
            sample_index=sample_index,
            arguments=arguments,
            sample_text=sample_text,
            status="parsed" if reason is None else "dropped",
            reason=reason,
            proposed=proposed,
        )


def drop_misplaced(
    samples: Sequence[SampledCall], windows: Sequence[Window], check_position: Callable[..., None]
) -> list[SampledCall]:
    """Drop the calls that could not be written where they stand.

    The text around a call is that of its window: the model saw no more of it while sampling, and
    will see no more of it while it is trained. Duplicates stay duplicates, since the call that they
    repeat stands at the same place and is dropped for the same reason.

    Args:
        samples: parsed or not; only parsed ones are looked at.
        check_position: the method of the tool that is called, see `Tool.check_position`; raises
            CallSyntaxError.

    Returns:
        The samples in the same order; a misplaced one has status `dropped` and the tool's reason.
    """
    by_key = {window.key: window for window in windows}
    checked = []
    for sample in samples:
        if sample.status == "parsed" and sample.arguments is not None:
            window = by_key[sample.document_id, sample.window_index]
            offset = sample.character_offset - window.start
            try:
                check_position(
                    sample.arguments, before=window.text[:offset], after=window.text[offset:]
                )
            except CallSyntaxError as error:
                sample = replace(sample, status="dropped", reason=error.reason)
        checked.append(sample)
    return checked


def drop_repeated_demonstrations(
    samples: Sequence[SampledCall],
    windows: Sequence[Window],
    prompt: str | None,
    titles: Mapping[str, str | None],
) -> list[SampledCall]:
    """Drop the calls that a small model copied from a demonstration of the prompt.

    Such a call has the arguments of a demonstration, but for white space, case and the marks at
    their edges, and a number or word among them that neither its window nor the title of its text
    holds. A call that the tool proposed is no copy.

    Args:
        samples, windows: see `drop_misplaced`.
        prompt: what they were sampled with; None for none.
        titles: of the texts, by document.

    Returns:
        The samples in the same order; a copy has status `dropped` and the reason
        `repeats_demonstration`.
    """
    demonstrated = {
        _without_edges(call.partition("(")[2].removesuffix(")"))
        for _, calls in demonstrations_of(prompt or "")
        for call in calls
    }
    by_key = {window.key: window for window in windows}
    checked = []
    for sample in samples:
        if (
            sample.status == "parsed"
            and sample.proposed != PROPOSED_CALL
            and sample.arguments is not None
            and _without_edges(sample.arguments) in demonstrated
        ):
            text = by_key[sample.document_id, sample.window_index].text
            if not TextWords(text, titles[sample.document_id]).contains_all(sample.arguments):
                sample = replace(sample, status="dropped", reason=REPEATS_DEMONSTRATION)
        checked.append(sample)
    return checked


def _without_edges(arguments: str) -> str:
    return "".join(arguments.casefold().split()).strip("\"'“”.?!")
