"""What `toolformer explain` says of a call, as data: the fields of `--json`.

Does not read, compute or print.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolformer.explanation import ExplainedToken
from toolformer.filtering import Baseline, CallLosses, FilterReason


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call stands.

    Attributes:
        document_id, title, url: of the text.
        source, source_offset: file or collection that the text was read from, and which record.
        shard: of the corpus.
        window: of the text, counted from 0.
        position: token of the window that the call stands in front of, counted from 0.
        character_offset: in the text, counted from 0.
        text_before, text_after: some words around the call; None where the text is not stored.
    """

    document_id: str
    title: str | None
    url: str | None
    source: str | None
    source_offset: int | None
    shard: str
    window: int
    position: int
    character_offset: int
    text_before: str | None
    text_after: str | None


@dataclass(frozen=True, slots=True)
class Sample:
    """How a call was sampled.

    Attributes:
        call_probability: p(` [`) at the position.
        sample_index: which of the position's samples, counted from 0.
        proposed: what the tool proposed: none, position or call; None in older slices, as none.
        sample_text: as the model wrote it.
    """

    call_probability: float
    sample_index: int
    proposed: str | None
    sample_text: str


@dataclass(frozen=True, slots=True)
class Execution:
    """What came of a call: its result, or the reason why there is none."""

    result: str | None
    reason: str | None
    duration_ms: float
    from_cache: bool
    tool_version: str


@dataclass(frozen=True, slots=True)
class ForeignResult:
    """The result of another call, to compare with.

    Attributes:
        call_id: of the other call.
        result: its result.
        chosen_by: `contrast`, `chance_level` (both stored), or `explain`, which took the one that
            a contrast would take.
        loss: with it, in nats; None where it is not stored.
    """

    call_id: str
    result: str
    chosen_by: str
    loss: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """The stored decision; losses and thresholds in nats, None where they were not needed.

    Attributes:
        loss_without_call: L(ε).
        loss_call_without_result: L(e(c, ε)).
        loss_with_result: L(e(c, r)).
        loss_with_foreign_result: the same with the result of another call.
        loss_reduction: L⁻ - L⁺, or the bound that decided; contrast: likewise with L(foreign).
        filtering_threshold, contrast_threshold: what they have to reach.
        pruning_threshold: below it no further loss was computed.
        baseline: what L⁻ is.
        is_kept: the decision.
        reason: as in `filtered_calls`.
        words: the same in a sentence.
        precision: of the model that gave the losses.
    """

    loss_without_call: float
    loss_call_without_result: float | None
    loss_with_result: float | None
    loss_with_foreign_result: float | None
    loss_reduction: float | None
    contrast: float | None
    filtering_threshold: float
    contrast_threshold: float | None
    pruning_threshold: float
    baseline: Baseline
    is_kept: bool
    reason: FilterReason
    words: str
    precision: str


@dataclass(frozen=True, slots=True)
class ExplainedCall:
    """A call as it is stored.

    Attributes:
        call_id, tool, round: of the call.
        arguments: None where the sample could not be read as a call.
        status: how far it came: dropped, parsed, failed, executed, or scored.
        status_reason: why it came no further, one snake_case word.
        place, sample: where it stands and how it was sampled.
        execution, foreign, decision: None where it did not come so far.
        provenance: its row of the view `call_provenance`.
    """

    call_id: str
    tool: str
    round: int
    arguments: str | None
    status: str
    status_reason: str | None
    place: Place
    sample: Sample
    execution: Execution | None
    foreign: ForeignResult | None
    decision: Decision | None
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recomputation:
    """The losses computed again, token by token.

    Attributes:
        model: directory of the model.
        precision: that it computed in.
        placement: of the call: prefix (in front of the text) or inline.
        foreign: whose result the column of the foreign result has.
        tokens: those that count; log-probabilities in nats.
        gains: what each adds to the loss reduction, in nats.
        losses: the weighted sums, in nats.
        loss_reduction: L⁻ - L⁺ in nats.
        is_kept, reason: the decision at the stored thresholds.
        is_same_decision: whether the stored one is the same.
        largest_difference: of a loss from the stored one, in nats.
        remark: how the two compare, in a sentence.
    """

    model: str
    precision: str
    placement: str
    foreign: ForeignResult | None
    tokens: tuple[ExplainedToken, ...]
    gains: tuple[float, ...]
    losses: CallLosses
    loss_reduction: float | None
    is_kept: bool
    reason: FilterReason
    is_same_decision: bool
    largest_difference: float
    remark: str
