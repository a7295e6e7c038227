"""What `toolformer explain` shows of a call: facts and tokens, in a terminal or as a page."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dagster_project.commands.recomputation import OtherResult, Recomputation, stored_other_result
from dagster_project.plots.style import colour_of
from dagster_project.report.page import rendered
from toolformer.filtering import FilterReason
from tools.protocol import ToolCall
from tools.syntax import format_call

_HELPED, _HURT = "green", "red"
# A token that adds less to the reduction, in nats, has no colour in a terminal.
_TELLING = 0.005
# Characters of the text that are shown on each side of a call.
_CONTEXT = 240
_COLUMNS = ("token", "weight", "no call", "no result", "result", "other result", "gain")
_PLACES = {"inline": "at its place in the text", "prefix": "in front of the text"}


def shown_in_terminal(
    call: Mapping[str, Any], recomputation: Recomputation | None
) -> Iterator[RenderableType]:
    """The call in its text, its facts, and the tokens where its losses are computed again."""
    before, after = _context(call)
    before_arrow, from_arrow = _written(call, call["result"])
    yield Text(f"Call {call['call_id']}\n", style="bold")
    yield Text.assemble(
        before, (before_arrow, "bold cyan"), (from_arrow, "bold magenta"), after, "\n"
    )
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in facts_of(call):
        facts.add_row(label, Text(value))
    yield facts
    if recomputation is not None:
        yield from _tokens_in_terminal(recomputation)


def _tokens_in_terminal(recomputation: Recomputation) -> Iterator[RenderableType]:
    place = _PLACES[recomputation.placement]
    table = Table(
        title=f"log p of the tokens behind the call, in nats, with the call {place}",
        title_justify="left",
        title_style="bold",
        show_footer=True,
    )
    for column, total in zip(_COLUMNS, _totals(recomputation), strict=True):
        table.add_column(column, footer=total, justify="left" if column == "token" else "right")
    for cells, gain in zip(_token_rows(recomputation), recomputation.gains, strict=True):
        colour = _HELPED if gain > 0 else _HURT
        style = colour if abs(gain) >= _TELLING else ""
        table.add_row(*(Text(cell) for cell in cells), style=style)
    yield Text()
    yield table
    if recomputation.other is not None:
        yield Text(f"other result: {_other_result(recomputation.other)}")
    yield Text("gain: weight times how much the result raises log p; together L⁻ - L⁺.")
    yield Text(f"Model: {recomputation.model}, {recomputation.precision}.")
    colour = _HELPED if recomputation.is_same_decision else _HURT
    yield Text(f"{_verdict(recomputation)}. {recomputation.remark}", style=colour)


def page_of_call(
    call: Mapping[str, Any], recomputation: Recomputation | None, why_not: str | None
) -> str:
    """The call as an HTML page with everything that it needs inside.

    Args:
        call: row of `explained_call.sql`.
        recomputation: its losses token by token.
        why_not: the reason why there are none.
    """
    before, after = _context(call)
    shown: dict[str, Any] = {}
    if recomputation is not None:
        behind = "".join(token.text for token in recomputation.tokens)
        # A token can be a part of a character, which the text does not have.
        after = after.removeprefix(behind) if after.startswith(behind) else " …"
        shown = {
            "columns": _COLUMNS,
            "rows": _token_rows(recomputation),
            "totals": _totals(recomputation),
            "place": _PLACES[recomputation.placement],
            "verdict": _verdict(recomputation),
        }
    return rendered(
        "call.html.jinja",
        call=call,
        before=before,
        after=after,
        colour=colour_of(call["tool"]),
        facts=list(facts_of(call)),
        status=status_of(call),
        panels=list(_panels(call, recomputation)),
        recomputation=recomputation,
        why_not=why_not,
        **shown,
    )


def _panels(
    call: Mapping[str, Any], recomputation: Recomputation | None
) -> Iterator[tuple[str, str, tuple[str, str], list[float]]]:
    """Caption, note, written call and the gains of the tokens: of its result and of another."""
    if recomputation is None:
        yield "", "", _written(call, call["result"]), []
        return
    losses, other = recomputation.losses, recomputation.other
    note = f"loss {_number(losses.loss_with_result)} nats"
    gains = recomputation.gains
    yield "With its own result", note, _written(call, call["result"]), list(gains)
    if other is not None:
        note = f"loss {_number(losses.loss_with_swapped_result)} nats; {_other_result(other)}"
        tokens = zip(recomputation.tokens, gains, strict=True)
        other_gains = [
            gain + token.weight * (token.with_swapped_result - token.with_result)
            for token, gain in tokens
            if token.with_swapped_result is not None
        ]
        yield "With the result of another call", note, _written(call, other.result), other_gains


def facts_of(call: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is stored of a call and its decision: labels and values.

    Args:
        call: row of `explained_call.sql`.
    """
    yield "tool", f"{call['tool']}, round {call['round']}"
    if call["arguments"]:
        yield "arguments", call["arguments"]
    yield "sampled as", call["sample_text"]
    if call["proposed"] in ("position", "call"):
        yield "proposed", f"the tool proposed the {call['proposed']}"
    if call["result"] is not None:
        yield "result", call["result"]
    yield "status", status_of(call)
    if call["execution_status"] is not None:
        cached = ", from the cache" if call["from_cache"] else ""
        version = f"version {call['tool_version']}"
        yield "executed", f"by {version} in {call['duration_ms']:.1f} ms{cached}"
    identity = f"{call['document_id']} of {call['shard']}"
    yield "document", ", ".join(filter(None, (call["title"], call["url"], identity)))
    if call["source"] is not None:
        yield "source", f"{call['source']}, record {call['source_offset']}"
    yield (
        "place",
        f"window {call['window']}, token {call['position']}, character "
        f"{call['character_offset']}; p(' [') = {call['call_probability']:.4g}",
    )
    yield "model", call["model"] or "not stored"
    digest = call["prompt_digest"]
    yield "prompt", f"{digest}; its text is in the table prompts" if digest else "none was shown"
    runs = {stage: call[f"{stage}_run"] for stage in ("sampling", "execution", "decision")}
    yield "runs", ", ".join(f"{stage} {run}" for stage, run in runs.items() if run) or "not stored"
    if call["is_kept"] is not None:
        losses = {
            "L(ε)": call["loss_without_call"],
            "L(e(c, ε))": call["loss_call_without_result"],
            "L(e(c, r))": call["loss_with_result"],
        }
        values = (f"{name} = {_number(loss) or 'not needed'}" for name, loss in losses.items())
        yield "losses", f"{', '.join(values)} nats ({call['precision']})"
        other, own = stored_other_result(call), call["loss_with_result"]
        if other is not None:
            value = _other_result(other)
            if other.loss is not None and own is not None:
                direction = "lower" if other.loss >= own else "higher"
                value += f": loss {other.loss:.3f}; with the own result it is "
                value += f"{direction} by {abs(other.loss - own):.3f}"
            yield "other result", value


def status_of(call: Mapping[str, Any]) -> str:
    """How far a call came and why no further; of a scored call the decision as a sentence."""
    reason = call["execution_reason"] or call["reason"]
    because = f": {reason.replace('_', ' ')}" if reason else ""
    if call["is_kept"] is not None:
        return f"{_in_words(call['is_kept'], call['decision_reason'])}: {_decision_of(call)}"
    if call["status"] == "dropped":
        return f"dropped after sampling{because}"
    if call["execution_status"] is None:
        return "sampled, not executed yet"
    return f"execution failed{because}" if call["result"] is None else "executed, not scored yet"


def _decision_of(call: Mapping[str, Any]) -> str:
    reduction = call["loss_reduction"]
    lowers = f"the result lowers the loss by {reduction or 0:.3f}"
    if reduction is not None and reduction < 0:
        lowers = f"the result raises the loss by {-reduction:.3f}"
    reaches = f"{lowers}, and the threshold is {call['filtering_threshold']:g}"
    contrast = ""
    if call["contrast"] is not None and call["contrast_threshold"] is not None:
        contrast = (
            f"; that is {call['contrast']:.3f} more than another call's result lowers it, and "
            f"{call['contrast_threshold']:g} more is asked for"
        )
    pruned = (
        f"the reduction cannot reach {call['lowest_threshold']:g}, so further losses were left out"
    )
    match FilterReason(call["decision_reason"]):
        case FilterReason.KEPT | FilterReason.BELOW_THRESHOLD | FilterReason.BELOW_CONTRAST:
            return reaches + contrast
        case FilterReason.NO_SWAPPED_RESULT:
            return f"{reaches}; but no other call has another result to compare with"
        case FilterReason.LOSS_WITHOUT_CALL_BELOW_LOWEST_THRESHOLD:
            return f"the loss without a call is {call['loss_without_call']:.3f}: {pruned}"
        case FilterReason.BOUND_BELOW_LOWEST_THRESHOLD:
            return f"against the text without a call {lowers}: {pruned}"
        case FilterReason.NOT_FINITE:
            return "a loss is not a finite number"
        case FilterReason.NO_TEXT_AFTER_POSITION:
            return "no text follows the call"


def _token_rows(recomputation: Recomputation) -> list[list[str]]:
    """The cells of `_COLUMNS`, a row for each token."""
    return [
        [
            # Quoted, so that spaces and line breaks are seen.
            json.dumps(token.text, ensure_ascii=False),
            _number(token.weight),
            _number(token.without_call),
            _number(token.call_without_result),
            _number(token.with_result),
            _number(token.with_swapped_result),
            f"{gain:+.3f}",
        ]
        for token, gain in zip(recomputation.tokens, recomputation.gains, strict=True)
    ]


def _totals(recomputation: Recomputation) -> list[str]:
    """The weighted sums below `_COLUMNS`."""
    losses = recomputation.losses
    sums = (
        losses.loss_without_call,
        losses.loss_call_without_result,
        losses.loss_with_result,
        losses.loss_with_swapped_result,
        recomputation.decision.loss_reduction,
    )
    return ["weighted loss", "", *map(_number, sums)]


def _written(call: Mapping[str, Any], result: str | None) -> tuple[str, str]:
    """The call as it is written, up to its arrow and from there on; a sample that is no call."""
    if call["arguments"] is None:
        return f" [{call['sample_text']}", ""
    parsed = ToolCall(call["tool"], call["arguments"])
    if result is None:
        return format_call(parsed, empty_result_keeps_arrow=False), ""
    before, arrow, answer = format_call(parsed, result).partition(" -> ")
    return before, arrow + answer


def _context(call: Mapping[str, Any]) -> tuple[str, str]:
    """The text around a call; a word that the cut goes through is left out."""
    if call["text"] is None:
        return "(the text is not stored) ", ""
    offset = call["character_offset"]
    before, after = call["text"][:offset], call["text"][offset:]
    if len(before) > _CONTEXT:
        before = "… " + before[-_CONTEXT:].partition(" ")[2]
    if len(after) > _CONTEXT:
        after = after[:_CONTEXT].rpartition(" ")[0] + " …"
    return before, after


def _other_result(other: OtherResult) -> str:
    remark = "" if other.loss is not None else "; its loss is not stored"
    return f"{other.result} (of {other.call_id}{remark})"


def _verdict(recomputation: Recomputation) -> str:
    return _in_words(recomputation.decision.is_kept, recomputation.decision.reason)


def _in_words(is_kept: bool, reason: str) -> str:
    return "kept" if is_kept else f"dropped ({reason.replace('_', ' ')})"


def _number(value: float | None) -> str:
    """A weight, loss or log-probability; empty where there is none."""
    return "" if value is None else f"{value:.3f}"
