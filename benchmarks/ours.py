"""Our engine behind the two calls that the measurement needs. All use of it is in this module.

Does not measure.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.workload import ToolWorkload, accept_arguments
from toolformer.calls import CallFormat, call_ids
from toolformer.filtering import CallLosses
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import Window
from toolformer.samples import SampledCall
from toolformer.sampling import sample_shard
from toolformer.scoring.call_scorer import Pruning, ScoringParameters
from toolformer.scoring.loss_form import PAPERS_FORM, LossForm, Placement
from toolformer.scoring.losses import scorer_for
from toolformer.scoring.scored_call import ScoredCall, WindowKey
from tools.protocol import ToolCall

# `scoring.lowest_threshold`: what a build prunes at.
LOWEST_THRESHOLD = 0.1


class _NeededRow(NamedTuple):
    """A row to score; no call in the row of the text alone.

    At its place a call is a row of its own with the text behind it, from `begin` on; what stands in
    front is the row of the text alone.
    """

    window: WindowKey
    call: ToolCall | None
    result: str | None
    begin: int


@dataclass(frozen=True, slots=True)
class NeededWork:
    """What scoring cannot do without: tokens of distinct rows, and output-layer rows."""

    tokens: int
    logit_rows: int


def sample(
    model: LanguageModel,
    tool: ToolWorkload,
    documents: Sequence[Window],
) -> list[SampledCall]:
    """Positions and samples of one tool."""
    with tempfile.TemporaryDirectory() as folder:
        return sample_shard(
            model,
            tool.prompt,
            documents,
            tool_name=tool.name,
            takes_arguments=True,
            parse_arguments=accept_arguments,
            parameters=tool.parameters(),
            windows_per_batch=None,
            window_tokens=max(len(document.ids) for document in documents),
            checkpoint=Checkpoint(Path(folder) / "sampling", fingerprint="benchmark"),
            progress=lambda _done, _total: None,
        )


def score(
    model: LanguageModel,
    tool: ToolWorkload,
    documents: Sequence[Window],
    calls: Sequence[ScoredCall],
    *,
    full_losses: bool = False,
    token_budget: int | None = None,
) -> dict[str, CallLosses]:
    """The losses of the calls; L(ε) of the documents included, though other tools share it."""
    parameters = ScoringParameters(CallFormat(), tool.form, token_budget)
    scorer = scorer_for(model, _by_key(documents), parameters)
    with tempfile.TemporaryDirectory() as folder:
        return scorer.score(
            calls,
            pruning=Pruning(
                LOWEST_THRESHOLD, {call.call_id for call in calls} if full_losses else set()
            ),
            checkpoint=Checkpoint(Path(folder) / "scoring", fingerprint="benchmark"),
            progress=lambda _done, _total: None,
        )


def needed_work(
    model: LanguageModel,
    documents: Sequence[Window],
    calls: Iterable[ScoredCall],
    losses: Mapping[str, CallLosses],
    *,
    form: LossForm = PAPERS_FORM,
) -> NeededWork:
    """What the losses that were computed need at least, each distinct row once.

    A row is BOS, the call (with or without result) and the text before the last weighted token of
    its last position; each text that has a call is a row without a call. Of a call at its place
    nothing in front of it is counted again.
    """
    is_inline = form.placement is Placement.INLINE
    windows = _by_key(documents)
    ends: dict[_NeededRow, int] = {}
    places: set[tuple[_NeededRow, int]] = set()
    for call in calls:
        ids = windows[call.window].ids
        begin = call.position if is_inline else 0
        end = min(len(ids), call.position + len(form.weights))
        of_call = losses[call.call_id]
        rows = [_NeededRow(call.window, None, None, 0)]
        if of_call.loss_with_result is not None:
            rows.append(_NeededRow(call.window, call.call, call.result, begin))
        if of_call.loss_call_without_result is not None:
            rows.append(_NeededRow(call.window, call.call, None, begin))
        for row in rows:
            ends[row] = max(ends.get(row, 0), end)
            places.update((row, place) for place in range(call.position, end))
    prefixes = {
        row: _prefix_of(model, row.call, row.result) for row in ends if row.call is not None
    }
    tokens = sum(len(prefixes.get(row, [])) + end - row.begin for row, end in ends.items())
    if is_inline:
        # BOS stands in the rows of texts alone.
        return NeededWork(tokens - len(prefixes), len(places))
    return NeededWork(tokens, len(places))


def _prefix_of(model: LanguageModel, call: ToolCall, result: str | None) -> list[int]:
    return call_ids(model.tokenizer, call, result, call_format=CallFormat())


def _by_key(documents: Sequence[Window]) -> dict[WindowKey, Window]:
    return {(document.document_id, document.index): document for document in documents}
