"""Defines sampled calls: where sampling ends, how a sample is parsed, and how its id is derived."""

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

# Reasons for dropping a sample. Other reasons come from `tools.syntax` and the tools.
DUPLICATE = "duplicate"
INVALID_ARGUMENTS = "invalid_arguments"
REPEATS_DEMONSTRATION = "repeats_demonstration"

# How much of a call the tool proposed: nothing, its position, or the whole call.
NOT_PROPOSED = "none"
PROPOSED_POSITION = "position"
PROPOSED_CALL = "call"


@dataclass(frozen=True, slots=True)
class SampledCall:
    """A sampled or proposed call; `arguments` is None if the sample could not be parsed.

    `call_probability` is None if all proposals were used, so that no positions had to be chosen.
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
    """Finds the end of a call during sampling.

    If `is_constrained`, `Tool(` was forced and only the arguments are sampled.
    """

    is_constrained: bool

    def end(self, text: str) -> int | None:
        """Return the length of the sample in `text`; None while it is unfinished.

        No call can contain a line break or `[`. So a line break also ends a sample, and so does `[`
        if sampling is constrained.
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
        """Return whether a token with this text can end a sample."""
        return any(character in token_text for character in ("]", "\n", "[", ")"))

    def is_finished(self, token_texts: Sequence[str]) -> bool:
        return self.may_finish(token_texts[-1]) and self.end("".join(token_texts)) is not None


def forced_text(tool_name: str, *, is_constrained: bool) -> list[str]:
    """Return the text, in pieces, that is forced before the sampled tokens."""
    return [CALL_OPEN, f"{tool_name}("] if is_constrained else [CALL_OPEN]


def sample_text_of(sampled: str, tool_name: str, *, is_constrained: bool) -> str:
    """Return the text of a call from after ` [` to its end, given the sampled text."""
    end = CallReader(is_constrained).end(sampled)
    text = sampled if end is None else sampled[:end]
    if not is_constrained:
        return text
    # `(` was forced and is not in the text, so a closed call has one more `)` than `(`.
    is_closed = text.count(")") > text.count("(")
    return f"{tool_name}({text}{CALL_CLOSE if is_closed else ''}"


def proposed_text(tool_name: str, arguments: str) -> str:
    return f"{tool_name}({arguments}){CALL_CLOSE}"


def call_id(
    document_id: str,
    window_index: int,
    tool_name: str,
    position: int,
    sample_index: int,
    round_: int,
) -> str:
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
    """Return `count` random numbers in [0, 1) for one sample, independent of other samples."""
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
    """Parse the samples of one position, or its `proposed_text`; a repeated call is a duplicate."""
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
    """Drop parsed samples whose position `Tool.check_position` rejects.

    `check_position` gets the text of the window, because the model sees no more of the document in
    sampling and training. Duplicates need no check, since they have the position of the first call.
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
    """Drop parsed samples whose arguments a model copied from a demonstration of the prompt.

    Arguments count as copied if they equal a demonstration's except for white space, case and outer
    punctuation, and contain a number or word that is neither in the window nor in the text's title.
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
