"""One call as the warehouse has it: found by its id, and its decision told in words.

Does not load a model and does not print.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from dagster_project.commands.explained_call import (
    Decision,
    Execution,
    ExplainedCall,
    ForeignResult,
    Place,
    Sample,
)
from toolformer.errors import ToolformerError
from toolformer.filtering import Baseline, FilterReason
from warehouse.warehouse import Warehouse

# Characters of the text that are shown on each side of a call.
_CONTEXT = 240
# So many calls are named where the beginning of an id fits several.
_NAMED = 5


def find_call(warehouse: Warehouse, given: str) -> tuple[ExplainedCall, str | None]:
    """The call whose id begins with a text, and the whole text that it stands in.

    Args:
        warehouse: where it is stored.
        given: an id, or enough of its beginning.

    Returns:
        The text is None where it is not stored.

    Raises:
        ToolformerError: no call has such an id, or several have.
    """
    shards = dict(warehouse.ask("call_named", call_id=given).iter_rows())
    if not shards:
        # Looks at the ids of all calls.
        several = warehouse.ask("calls_beginning", beginning=given, most=_NAMED + 1)
        shards = dict(several.iter_rows())
    found = list(shards)
    if not found:
        raise ToolformerError(_not_found(warehouse, given))
    if len(found) > 1:
        more = ", …" if len(found) > _NAMED else ""
        raise ToolformerError(
            f"The ids of several calls begin with {given!r}: {', '.join(found[:_NAMED])}{more}. "
            "Expected enough of one to tell it from the others; give more of it."
        )
    [(call_id, shard)] = shards.items()
    # All that is stored of a call, foreign results among it, is of its shard.
    stored = partial(warehouse.ask, shards={shard}, call_id=call_id)
    row = stored("explained_call").row(0, named=True)
    provenance = stored("provenance_of_call").row(0, named=True)
    return _of_rows(row, provenance), row["text"]


def _not_found(warehouse: Warehouse, given: str) -> str:
    if warehouse.query("select call_id from candidate_calls limit 1").is_empty():
        return f"There is no call {given!r}: no calls were sampled yet. Run `toolformer build`."
    return (
        f"There is no call whose id begins with {given!r}. Expected an id of candidate_calls, or "
        "the beginning of one. This lists the kept calls, the most helpful first: toolformer sql "
        '"select call_id, tool, call from kept_examples limit 20"'
    )


def _of_rows(row: Mapping[str, Any], provenance: Mapping[str, Any]) -> ExplainedCall:
    status, reason = row["status"], row["reason"]
    execution = decision = None
    if row["execution_status"] is not None:
        status, reason = row["execution_status"], row["execution_reason"]
        execution = Execution(
            row["result"], reason, row["duration_ms"], row["from_cache"], row["tool_version"]
        )
    if row["is_kept"] is not None:
        status, reason = "scored", None
        decision = _decision_of(row)
    before, after = _around(row["text"], row["character_offset"])
    return ExplainedCall(
        call_id=row["call_id"],
        tool=row["tool"],
        round=row["round"],
        arguments=row["arguments"],
        status=status,
        status_reason=reason,
        place=Place(
            **{
                name: row[name]
                for name in Place.__slots__
                if name not in ("text_before", "text_after")
            },
            text_before=before,
            text_after=after,
        ),
        sample=Sample(**{name: row[name] for name in Sample.__slots__}),
        execution=execution,
        foreign=_foreign_of(row),
        decision=decision,
        provenance=provenance,
    )


def _around(text: str | None, offset: int) -> tuple[str | None, str | None]:
    """The words around a place; a word that the cut goes through is left out."""
    if text is None:
        return None, None
    before, after = text[:offset], text[offset:]
    if len(before) > _CONTEXT:
        before = "… " + before[-_CONTEXT:].partition(" ")[2]
    if len(after) > _CONTEXT:
        after = after[:_CONTEXT].rpartition(" ")[0] + " …"
    return before, after


def _foreign_of(row: Mapping[str, Any]) -> ForeignResult | None:
    if row["foreign_result"] is not None:
        loss = row["loss_with_foreign_result"]
        return ForeignResult(row["foreign_call_id"], row["foreign_result"], "contrast", loss)
    if row["chance_result"] is not None:
        return ForeignResult(
            row["chance_call_id"], row["chance_result"], "chance_level", row["chance_loss"]
        )
    return None


def _decision_of(row: Mapping[str, Any]) -> Decision:
    reason = FilterReason(row["decision_reason"])
    own, foreign = row["loss_with_result"], row["loss_with_foreign_result"]
    contrast = None if own is None or foreign is None else foreign - own
    return Decision(
        loss_without_call=row["loss_without_call"],
        loss_call_without_result=row["loss_call_without_result"],
        loss_with_result=own,
        loss_with_foreign_result=foreign,
        loss_reduction=row["loss_reduction"],
        contrast=contrast,
        filtering_threshold=row["filtering_threshold"],
        contrast_threshold=row["contrast_threshold"],
        pruning_threshold=row["pruning_threshold"],
        # Earlier releases had no other.
        baseline=Baseline(row["baseline"] or Baseline.MINIMUM),
        is_kept=row["is_kept"],
        reason=reason,
        words=_in_words(reason, row, contrast),
        precision=row["precision"],
    )


def _in_words(reason: FilterReason, row: Mapping[str, Any], contrast: float | None) -> str:
    """A decision as a sentence."""
    reduction, threshold = row["loss_reduction"], row["filtering_threshold"]
    lowers = f"the result lowers the loss by {reduction or 0:.3f}"
    if reduction is not None and reduction < 0:
        lowers = f"the result raises the loss by {-reduction:.3f}"
    reaches = f"{lowers}, and the threshold is {threshold:g}"
    than_another = ""
    if contrast is not None and row["contrast_threshold"] is not None:
        than_another = (
            f"; that is {contrast:.3f} more than another call's result lowers it, and "
            f"{row['contrast_threshold']:g} more is asked for"
        )
    pruned = f"the reduction cannot reach {row['pruning_threshold']:g}, so further losses were left"
    match reason:
        case FilterReason.KEPT | FilterReason.BELOW_THRESHOLD | FilterReason.BELOW_CONTRAST:
            return reaches + than_another
        case FilterReason.NO_FOREIGN_RESULT:
            return f"{reaches}; but no other call has another result to compare with"
        case FilterReason.LOSS_WITHOUT_CALL_BELOW_PRUNING_THRESHOLD:
            return f"the loss without a call is {row['loss_without_call']:.3f}: {pruned} out"
        case FilterReason.BOUND_BELOW_PRUNING_THRESHOLD:
            return f"against the text without a call {lowers}: {pruned} out"
        case FilterReason.NOT_FINITE:
            return "a loss is not a finite number"
        case FilterReason.NO_TEXT_AFTER_POSITION:
            return "no text follows the call"
