"""The kinds of test vectors, and the function of the pipeline that each of them tests.

A function takes the inputs of a case by name and returns a value for each expected one.
"""

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from toolformer.augmentation import KeptCall, augmented_text, one_call_per_position
from toolformer.decoding.triggers import CallChance, choose_token
from toolformer.evaluation import scoring
from toolformer.filtering import CallLosses, decide
from toolformer.loss_weights import TOKEN_WEIGHTS, weighted_loss
from toolformer.positions import choose_positions
from toolformer.settings.annotation_sections import ScoringSettings
from tools.errors import CallSyntaxError
from tools.protocol import Document
from tools.registry import create_tool
from tools.running.deadlines import Limits
from tools.running.execution import execute_calls
from tools.syntax import CALL_OPEN, clean_result, remove_calls
from warehouse.connection import temporary_tables
from warehouse.schema import sql_texts, table_schema

# The paper's rule, which the trigger's cases follow: at most one call per input (section 4.2).
_MAX_CALLS = 1
_DEADLINE_SECONDS = 10.0
# What a weight may differ from its fraction by in floating point.
_EXACT = 1e-12


class CaseError(ValueError):
    """A case does not have the form that its kind needs."""


Values = dict[str, Any]


def _weights(t: Sequence[int] | None = None, tokens_left: Sequence[int] | None = None) -> Values:
    if tokens_left is not None and t is None:
        return {"weight_sum": [weighted_loss([1.0] * count) for count in tokens_left]}
    if t is None or tokens_left is not None:
        raise CaseError("expected one of the inputs 't' and 'tokens_left'")
    weights = dict(enumerate(TOKEN_WEIGHTS))
    chosen = [weights.get(index, 0.0) for index in t]
    return {
        # Before they are divided by their sum, the first of them is 1.
        "unnormalised": [weight / weights[0] for weight in chosen],
        "normalised": chosen,
        "fractions": _fractions(chosen),
    }


def _filter(
    n_tokens: int,
    position: int,
    tau_f: float | str,
    logp_empty: Sequence[float | str],
    logp_call_only: Sequence[float | str],
    logp_call_result: Sequence[float | str],
) -> Values:
    """Losses and decision of a call, from the log-probabilities of all tokens of its text.

    The decision is that of the statement that builds run; the engine's, which explanations and the
    minimum probability use, must be the same.
    """
    losses = [
        [-float(value) for value in values]
        for values in (logp_empty, logp_call_only, logp_call_result)
    ]
    if {len(values) for values in losses} != {n_tokens} or not 0 <= position <= n_tokens:
        raise CaseError("the log-probabilities, position and n_tokens do not fit each other")
    used = ScoringSettings().tokens_used(n_tokens, position)
    without, call_only, with_result = (weighted_loss(values[position:]) for values in losses)
    losses_of_call = CallLosses(
        loss_without_call=without,
        loss_with_result=with_result,
        loss_call_without_result=call_only,
        tokens_used=used,
    )
    engine = decide(losses_of_call, filtering_threshold=float(tau_f))
    stored = _decided_in_sql(losses_of_call, float(tau_f))
    if stored != (engine.is_kept, engine.reason, engine.loss_reduction):
        raise CaseError(f"filtered_calls.sql decides {stored}, the engine {engine}")
    is_kept, _, reduction = stored
    return {
        "tokens_used": used,
        "weight_sum": weighted_loss([1.0] * used),
        "L_empty": without,
        "L_call_only": call_only,
        "L_plus": with_result,
        "L_minus": min(without, call_only),
        "diff": float("nan") if reduction is None else reduction,
        "keep": is_kept,
    }


def _decided_in_sql(
    losses: CallLosses, filtering_threshold: float
) -> tuple[bool, str, float | None]:
    """Whether a call is kept, the reason and the reduction, as the statement of builds decides."""
    table = table_schema("scored_calls")
    row: dict[str, object] = {
        **dict.fromkeys(table.column_names),
        **dict.fromkeys(("call_id", "shard", "tool", "document_id", "precision"), "vectors"),
        **dataclasses.asdict(losses),
        "window_index": 0,
        "position": 0,
        "proposed": "none",
        "is_in_chance_sample": False,
        "lowest_threshold": 0.0,
        "baseline": "minimum",
        "round": 1,
    }
    rules = {"filtering_threshold": filtering_threshold, "contrast_threshold": None}
    places = ", ".join(f"${name}" for name in row)
    with temporary_tables() as connection:
        connection.execute(table.create_statement)
        connection.execute(f"insert into {table.name} values ({places})", row)
        decided = connection.execute(
            sql_texts("queries")["filtered_calls"], {"tool": "vectors", "round": 1, **rules}
        )
        names = [column[0] for column in decided.description]
        ((*values,),) = decided.fetchall()
    found = dict(zip(names, values, strict=True))
    return found["is_kept"], found["reason"], found["loss_reduction"]


def _positions(p_api: Sequence[float | str], tau_s: float | str, k: int) -> Values:
    probabilities = [float(value) for value in p_api]
    return {
        "positions": choose_positions(
            probabilities, sampling_threshold=float(tau_s), positions_per_text=k
        )
    }


def _merge(tokens: Sequence[str], calls: Sequence[Mapping[str, Any]]) -> Values:
    text = "".join(tokens)
    merged = one_call_per_position(
        _kept_call(tokens, number, **call) for number, call in enumerate(calls)
    )
    augmented = augmented_text(text, merged)
    if remove_calls(augmented, [(call.character_offset, call.text) for call in merged]) != text:
        raise CaseError("the text without its calls is another one")
    return {"text": augmented}


def _kept_call(
    tokens: Sequence[str],
    number: int,
    *,
    position: int,
    tool: str,
    args: str,
    result: str,
    diff: float | str,
) -> KeptCall:
    if not 0 <= position <= len(tokens):
        raise CaseError(f"call {number + 1} has position {position}, outside the text")
    cleaned = clean_result(result)
    if not cleaned:
        raise CaseError(f"call {number + 1} has an empty result, which no kept call has")
    return KeptCall(
        call_id=str(number),
        position=position,
        character_offset=len("".join(tokens[:position])),
        tool=tool,
        arguments=args,
        result=cleaned,
        loss_reduction=float(diff),
    )


def _trigger(ranked_tokens: Sequence[str], k: int, calls_so_far: int, disabled: bool) -> Values:
    if not isinstance(disabled, bool):
        raise CaseError(f"disabled is {disabled!r}; expected true or false")
    rank = ranked_tokens.index(CALL_OPEN) + 1 if CALL_OPEN in ranked_tokens else None
    token = choose_token(
        ranked_tokens,
        open_token=CALL_OPEN,
        chance=CallChance(rank, 1.0),
        call_top_k=k,
        min_call_probability=0,
        calls_so_far=calls_so_far,
        max_calls=_MAX_CALLS,
        is_disabled=disabled,
    )
    return {"emit": token}


def _calculator(args: str) -> Values:
    return _answered("Calculator", {}, args, Document("vectors", ""))


def _calendar(date: str) -> Values:
    document = Document("vectors", "", published_on=datetime.date.fromisoformat(date))
    return _answered("Calendar", {"date_source": "published_on"}, "", document)


def _answered(
    name: str, options: Mapping[str, object], arguments: str, document: Document
) -> Values:
    """Let a tool answer as the pipeline does: parsed, executed, cleaned."""
    tool = create_tool(name, options)
    try:
        parsed = tool.parse_arguments(arguments)
    except CallSyntaxError:
        return {"result": None}
    limits = Limits(deadline_seconds=_DEADLINE_SECONDS)
    (answer,) = execute_calls(tool, [(parsed, document)], limits=limits)
    if answer.reason in ("tool_error", "timeout"):
        # No answer by accident is not the refusal that a case may ask for.
        raise CaseError(f"{name} failed with {answer.reason}")
    return {"result": answer.result}


def _score_words(first_words: int, *, prediction: str, gold: Sequence[str]) -> Values:
    return {"correct": scoring.contains_answer(prediction, gold, first_words=first_words)}


def _score_math(*, prediction: str, gold: float) -> Values:
    return {"correct": scoring.is_number_right(scoring.answered_number(prediction), [str(gold)])}


def _fractions(weights: Sequence[float]) -> list[str]:
    """Weights as fractions such as `1/3`; one that is none as it is."""
    fractions = [Fraction(weight).limit_denominator(1_000_000) for weight in weights]
    return [
        str(fraction) if abs(float(fraction) - weight) <= _EXACT else repr(weight)
        for fraction, weight in zip(fractions, weights, strict=True)
    ]


KINDS: dict[str, Callable[..., Values]] = {
    "weights": _weights,
    "filter": _filter,
    "positions": _positions,
    "merge": _merge,
    "trigger": _trigger,
    "calculator": _calculator,
    "calendar": _calendar,
    "score_lama": partial(_score_words, 5),
    "score_math": _score_math,
    "score_qa": partial(_score_words, 20),
    "score_mlqa": partial(_score_words, 10),
}
