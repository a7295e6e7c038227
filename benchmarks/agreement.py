"""Whether our engine gives what the formulas give, in float32 on two documents.

Does not measure time. The literal side is the unbatched stock model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks import ours
from benchmarks.batched_literal import LiteralEngine
from benchmarks.workload import ToolWorkload, calls_of
from toolformer.filtering import CallLosses, decide
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import Window
from toolformer.scoring.losses import ScoredCall


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the two are apart.

    Attributes:
        calls: compared.
        decisions_equal: share of equal decisions at τ_f and at 0.5, with and without pruning.
        max_loss_difference: over all three losses, in nats.
        positions_equal: share of chosen positions that both chose.
        max_probability_difference: over p_i of the positions that both chose.
    """

    calls: int
    decisions_equal: float
    max_loss_difference: float
    positions_equal: float
    max_probability_difference: float


def agreement(
    model: LanguageModel,
    literal: LiteralEngine,
    tool: ToolWorkload,
    documents: Sequence[Window],
    calls: Sequence[ScoredCall],
    *,
    max_calls: int,
) -> Agreement:
    """Compare positions, losses and decisions.

    Args:
        model: in float32.
        literal: the same weights in float32, with a batch size of 1.
        tool: the tool.
        documents: a few; every loss is a forward pass of its own.
        calls: candidates; those of `documents` are compared.
        max_calls: compared, spread evenly over them.
    """
    in_documents = calls_of(calls, documents)
    step = max(1, -(-len(in_documents) // max_calls))
    compared = in_documents[::step]
    literal_losses = literal.score(documents, compared, form=tool.form)
    full = ours.score(model, tool, documents, compared, full_losses=True)
    pruned = ours.score(model, tool, documents, compared)
    equal = [
        _is_kept(engine[call.call_id], threshold)
        == _is_kept(literal_losses[call.call_id], threshold)
        for call in compared
        for engine in (full, pruned)
        for threshold in (tool.filtering_threshold, ours.LOWEST_THRESHOLD)
    ]
    # One sample per position is enough to see the positions.
    once = replace(tool, calls_per_position=1)
    our_places = {
        (sample.document_id, sample.position): sample.call_probability
        for sample in ours.sample(model, once, documents)
    }
    literal_places = {
        (context.document.document_id, context.position): context.call_probability
        for context in literal.contexts(tool, documents)
    }
    common = our_places.keys() & literal_places.keys()
    return Agreement(
        calls=len(compared),
        decisions_equal=sum(equal) / max(len(equal), 1),
        max_loss_difference=max(
            (_difference(full[call.call_id], literal_losses[call.call_id]) for call in compared),
            default=0.0,
        ),
        positions_equal=len(common) / max(len(literal_places), 1),
        max_probability_difference=max(
            (abs(our_places[place] - literal_places[place]) for place in common), default=0.0
        ),
    )


def _is_kept(losses: CallLosses, threshold: float) -> bool:
    return decide(losses, filtering_threshold=threshold).is_kept


def _difference(ours_: CallLosses, literal: CallLosses) -> float:
    pairs = (
        (ours_.loss_without_call, literal.loss_without_call),
        (ours_.loss_with_result, literal.loss_with_result),
        (ours_.loss_call_without_result, literal.loss_call_without_result),
    )
    # Both sides were asked for all three; a missing one is a difference that must not vanish.
    return max(
        abs(left - right) if left is not None and right is not None else float("inf")
        for left, right in pairs
    )
