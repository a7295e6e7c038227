"""What the groups of test vectors hold, and which function of the pipeline each kind tries.

Does not decide whether a case has passed: it pairs expected values with those found. Groups whose
rules the paper does not have are in `own_vector_cases.py`.
"""

import datetime
import math
from collections.abc import Callable, Mapping, Sequence

from dagster_project.commands.own_vector_cases import OWN_GROUPS
from dagster_project.commands.vector_fields import (
    CaseError,
    Fields,
    Found,
    equal_fractions,
    number_of,
    token_losses,
)

# The paper's rule, which the trigger's cases follow: at most one call per input (section 4.2).
_MAX_CALLS = 1


def _weights(inputs: Fields, expected: Fields) -> Found:
    from toolformer.loss_weights import token_weights, weighted_loss

    if "tokens_left" in inputs:
        counts = inputs["tokens_left"]
        wanted = expected["weight_sum"]
        return [
            ("weight_sum", wanted, [math.fsum(token_weights(count)) for count in counts]),
            ("weight_sum (applied)", wanted, [weighted_loss([1.0] * count) for count in counts]),
        ]
    places = inputs["t"]
    weights = token_weights(max(places) + 1)
    chosen = [weights[place] for place in places]
    return [
        # Before they are divided by their sum, the first of them is 1.
        ("unnormalised", expected["unnormalised"], [weight / weights[0] for weight in chosen]),
        ("normalised", expected["normalised"], chosen),
        ("weights equal their fractions", True, equal_fractions(expected["fractions"], chosen)),
    ]


def _filter(inputs: Fields, expected: Fields) -> Found:
    from toolformer.filtering import CallLosses, decide
    from toolformer.loss_weights import TOKEN_WEIGHTS, losses_of_positions, weighted_loss

    threshold = number_of(inputs["tau_f"])
    losses_of_tokens = token_losses(inputs)
    count, position = inputs["n_tokens"], inputs["position"]
    used = min(count - position, len(TOKEN_WEIGHTS))
    weight_sum = weighted_loss([1.0] * used)
    without, call_only, with_result = (
        losses_of_positions(losses, [position])[0] for losses in losses_of_tokens.values()
    )
    decision = decide(
        CallLosses(
            loss_without_call=without,
            loss_with_result=with_result,
            loss_call_without_result=call_only,
            tokens_used=used,
        ),
        filtering_threshold=threshold,
    )
    difference = math.nan if decision.loss_reduction is None else decision.loss_reduction
    found = {
        "tokens_used": used,
        "weight_sum": weight_sum,
        "L_empty": without,
        "L_call_only": call_only,
        "L_minus": min(without, call_only),
        "L_plus": with_result,
        "diff": difference,
        "keep": decision.is_kept,
    }
    # What a slip or another order of summing gives: told to the reader, not asked of us.
    for name in expected:
        if name.startswith(("naive_", "diff_", "keep_")):
            number_of(float(expected[name]))
    return [(name, expected[name], value) for name, value in found.items()]


def _positions(inputs: Fields, expected: Fields) -> Found:
    from toolformer.positions import choose_positions

    positions = choose_positions(
        [number_of(value) for value in inputs["p_api"]],
        sampling_threshold=number_of(inputs["tau_s"]),
        positions_per_text=inputs["k"],
    )
    return [("positions", expected["positions"], positions)]


def _merge(inputs: Fields, expected: Fields) -> Found:
    from toolformer.augmentation import KeptCall, augmented_text, one_call_per_position
    from tools.syntax import clean_result, remove_calls

    tokens: Sequence[str] = inputs["tokens"]
    text = "".join(tokens)
    calls = []
    for number, values in enumerate(inputs["calls"]):
        call = Fields(f"call {number + 1}", values)
        position = call["position"]
        if not 0 <= position <= len(tokens):
            raise CaseError(f"call {number + 1} has position {position}, outside the text")
        result = clean_result(call["result"])
        if not result:
            raise CaseError(f"call {number + 1} has an empty result, which no kept call has")
        calls.append(
            KeptCall(
                call_id=str(number),
                position=position,
                character_offset=len("".join(tokens[:position])),
                tool=call["tool"],
                arguments=call["args"],
                result=result,
                loss_reduction=number_of(call["diff"]),
            )
        )
        call.check_all_used()
    merged = one_call_per_position(calls)
    augmented = augmented_text(text, merged)
    restored = remove_calls(augmented, [(call.character_offset, call.text) for call in merged])
    return [
        ("text", expected["text"], augmented),
        ("text without its calls", text, restored),
    ]


def _trigger(inputs: Fields, expected: Fields) -> Found:
    from toolformer.decoding.triggers import next_emission
    from tools.syntax import CALL_OPEN

    is_disabled = inputs["disabled"]
    if not isinstance(is_disabled, bool):
        raise CaseError(f"disabled is {is_disabled!r}, neither true nor false")
    token = next_emission(
        inputs["ranked_tokens"],
        open_token=CALL_OPEN,
        call_top_k=inputs["k"],
        calls_so_far=inputs["calls_so_far"],
        max_calls=_MAX_CALLS,
        is_disabled=is_disabled,
    )
    return [("emit", expected["emit"], token)]


def _calculator(inputs: Fields, expected: Fields) -> Found:
    return _tool_result("Calculator", {}, inputs["args"], None, expected)


def _calendar(inputs: Fields, expected: Fields) -> Found:
    settings = {"date_source": "published_on"}
    return _tool_result("Calendar", settings, "", inputs["date"], expected)


def _tool_result(
    name: str, settings: Mapping[str, object], text: str, date: str | None, expected: Fields
) -> Found:
    """Let a tool answer as the pipeline does: parsed, executed, cleaned."""
    from dagster_project.settings.sections import Settings
    from tools.errors import CallSyntaxError
    from tools.protocol import Document
    from tools.registry import create_tool
    from tools.running.deadlines import Limits
    from tools.running.execution import execute_calls

    tool = create_tool(name, settings)
    published_on = None if date is None else datetime.date.fromisoformat(date)
    document = Document("vectors", "", published_on=published_on)
    wanted = expected["result"]
    try:
        arguments = tool.parse_arguments(text)
    except CallSyntaxError:
        return [("result", wanted, None)]
    limits = Limits(deadline_seconds=Settings().execution.deadline_seconds)  # pyright: ignore[reportCallIssue]
    (answer,) = execute_calls(tool, [(arguments, document)], limits=limits)
    if answer.reason in ("tool_error", "timeout"):
        # No answer by accident is not the refusal that a case may ask for.
        raise CaseError(f"{name} failed with {answer.reason}")
    return [("result", wanted, answer.result)]


def _scorer(name: str) -> Callable[[Fields, Fields], Found]:
    def run(inputs: Fields, expected: Fields) -> Found:
        from toolformer.evaluation import scoring

        is_correct = getattr(scoring, name)(inputs["prediction"], inputs["gold"])
        return [("correct", expected["correct"], is_correct)]

    return run


GROUPS: dict[str, dict[str, Callable[[Fields, Fields], Found]]] = {
    "weights": {"weights": _weights},
    "filter": {"filter": _filter},
    "positions": {"positions": _positions},
    "merge": {"merge": _merge},
    "trigger": {"trigger": _trigger},
    "tools": {"calculator": _calculator, "calendar": _calendar},
    "scoring": {
        name: _scorer(name) for name in ("score_lama", "score_math", "score_qa", "score_mlqa")
    },
    **OWN_GROUPS,
}
