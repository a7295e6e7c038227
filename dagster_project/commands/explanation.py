"""What `toolformer explain` shows of a call: its text, facts and tokens; a page has the same."""

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from dagster_project.commands.recomputation import Recomputation
from toolformer.filtering import FilterReason
from toolformer.forward.precision import FLOAT32
from toolformer.home.report.page import rendered
from toolformer.home.wiring.execution import PEEKS
from tools.protocol import ToolCall
from tools.syntax import format_call

_HELPED, _HURT = "green", "red"
# Red, green and blue of a token that adds most to the reduction, and of one that adds nothing.
_HELPED_MOST, _HURT_MOST, _NEUTRAL = (116, 196, 118), (251, 128, 114), (245, 245, 245)
# A token that adds less to the reduction, in nats, has no colour.
_TELLING = 0.005
# Characters of the text that are shown on each side of a call.
_CONTEXT = 240
_PAGE_COLUMNS = 110
_COLUMNS = ("token", "weight", "no call", "no result", "result", "other result", "gain")
_PLACES = {"inline": "at its place in the text", "prefix": "in front of the text"}
_PRUNED = "the reduction cannot reach scoring.lowest_threshold, so further losses were left out"
_DECISIONS = {
    FilterReason.KEPT: "the reduction reaches the threshold",
    FilterReason.BELOW_THRESHOLD: "the reduction does not reach the threshold",
    FilterReason.BELOW_CONTRAST: "it helps too little more than the result of another call",
    FilterReason.NO_SWAPPED_RESULT: "no other call has another result to compare with",
    FilterReason.LOSS_WITHOUT_CALL_BELOW_LOWEST_THRESHOLD: _PRUNED,
    FilterReason.BOUND_BELOW_LOWEST_THRESHOLD: _PRUNED,
    FilterReason.NOT_FINITE: "a loss is not a finite number",
    FilterReason.NO_TEXT_AFTER_POSITION: "no text follows the call",
}


def explanation_of(
    call: Mapping[str, Any], recomputation: Recomputation | None
) -> Iterator[RenderableType]:
    """The call in its text, its facts, and the tokens where its losses are computed again.

    Args:
        call: row of `explained_call.sql`.
        recomputation: its losses token by token.
    """
    yield Text(f"Call {call['call_id']}\n", style="bold")
    if recomputation is None:
        yield Text.assemble(*_in_its_text(call, call["result"], Text()), "\n")
    else:
        yield from _texts_with_gains(call, recomputation)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in facts_of(call):
        facts.add_row(label, Text(value))
    yield facts
    if recomputation is not None:
        yield from _tokens_of(call, recomputation)


def page_of_call(
    call: Mapping[str, Any], recomputation: Recomputation | None, why_not: str | None
) -> str:
    """The explanation as an HTML page with everything that it needs inside.

    Args:
        call, recomputation: see `explanation_of`.
        why_not: the reason why the losses are not computed again.
    """
    console = Console(
        record=True,
        file=io.StringIO(),
        width=_PAGE_COLUMNS,
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(*explanation_of(call, recomputation), sep="\n")
    body = console.export_html(code_format="{code}", inline_styles=True)
    return rendered("call.html.jinja", call=call, body=body, why_not=why_not)


def _texts_with_gains(
    call: Mapping[str, Any], recomputation: Recomputation
) -> Iterator[RenderableType]:
    """The call in its text, the tokens behind it coloured: with its result, and with another."""
    losses, tokens = recomputation.losses, recomputation.tokens
    note = "Green: a token that is likelier with the result than without it; red: less likely"
    shown = [(call["result"], list(recomputation.gains), losses.loss_with_result, note)]
    if call["swapped_result"] is not None:
        other_gains = [
            gain + token.weight * ((token.with_swapped_result or 0.0) - token.with_result)
            for token, gain in zip(tokens, recomputation.gains, strict=True)
        ]
        note = "The same with the result of another call"
        shown.append((call["swapped_result"], other_gains, losses.loss_with_swapped_result, note))
    largest = max((abs(gain) for _, gains, _, _ in shown for gain in gains), default=0.0)
    for result, gains, loss, note in shown:
        styles = (_shade(gain, largest) for gain in gains)
        coloured = Text.assemble(*zip((token.text for token in tokens), styles, strict=True))
        yield Text.assemble(*_in_its_text(call, result, coloured))
        yield Text(f"{note}. Loss {_number(loss)} nats.\n", style="dim")


def _in_its_text(
    call: Mapping[str, Any], result: str | None, tokens: Text
) -> Iterator[str | Text | tuple[str, str]]:
    """The parts of the text with the call, the tokens behind it as they are given."""
    before, after = _context(call)
    if tokens:
        # A token can be a part of a character, which the text does not have.
        is_whole = after.startswith(tokens.plain)
        after = after.removeprefix(tokens.plain) if is_whole else " …"
    yield before
    if call["arguments"] is None:
        # A sample that is no call.
        yield f" [{call['sample_text']}", "bold cyan"
    else:
        parsed = ToolCall(call["tool"], call["arguments"])
        if result is None:
            yield format_call(parsed, empty_result_keeps_arrow=False), "bold cyan"
        else:
            written, arrow, answer = format_call(parsed, result).partition(" -> ")
            yield written, "bold cyan"
            yield arrow + answer, "bold magenta"
    yield tokens
    yield after


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


def _shade(gain: float, largest: float) -> str:
    """The style of a token: the stronger its colour, the more it counts."""
    if abs(gain) < _TELLING:
        return ""
    end, share = _HELPED_MOST if gain > 0 else _HURT_MOST, abs(gain) / largest
    mixed = (round(a + share * (b - a)) for a, b in zip(_NEUTRAL, end, strict=True))
    return f"black on rgb({','.join(map(str, mixed))})"


def _tokens_of(call: Mapping[str, Any], recomputation: Recomputation) -> Iterator[RenderableType]:
    table = Table(
        title="log p of the tokens behind the call, in nats, with the call "
        f"{_PLACES[recomputation.placement]}",
        title_justify="left",
        title_style="bold",
        show_footer=True,
    )
    losses = recomputation.losses
    sums = (
        losses.loss_without_call,
        losses.loss_call_without_result,
        losses.loss_with_result,
        losses.loss_with_swapped_result,
        sum(recomputation.gains),
    )
    footers = ("weighted loss", "", *map(_number, sums))
    for column, footer in zip(_COLUMNS, footers, strict=True):
        table.add_column(column, footer=footer, justify="left" if column == "token" else "right")
    for token, gain in zip(recomputation.tokens, recomputation.gains, strict=True):
        numbers = (
            token.weight,
            token.without_call,
            token.call_without_result,
            token.with_result,
            token.with_swapped_result,
        )
        # Quoted, so that spaces and line breaks are seen.
        cells = (json.dumps(token.text, ensure_ascii=False), *map(_number, numbers), f"{gain:+.3f}")
        colour = _HELPED if gain > 0 else _HURT
        table.add_row(*map(Text, cells), style=colour if abs(gain) >= _TELLING else "")
    yield Text()
    yield table
    yield Text("gain: weight times how much the result raises log p; together L⁻ - L⁺.")
    yield Text(f"Model: {recomputation.model}, {FLOAT32}.")
    yield Text(
        f"These losses differ from the stored ones, which are of {call['precision']}, by up to "
        f"{recomputation.largest_difference:.4f} nats."
    )


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
    if call["message"] is not None:
        yield "message", call["message"]
    if call["tool_version"] is not None and call["reason"] != PEEKS:
        cached = ", from the cache" if call["from_cache"] else ""
        version = f"version {call['tool_version']}"
        yield "executed", f"by {version} in {call['duration_ms']:.1f} ms{cached}"
    identity = f"{call['document_id']} of {call['shard']}"
    yield "document", ", ".join(filter(None, (call["title"], call["url"], identity)))
    if call["source"] is not None:
        yield "source", f"{call['source']}, record {call['source_offset']}"
    yield (
        "place",
        f"window {call['window_index']}, token {call['position']}, character "
        f"{call['character_offset']}; p(' [') = {call['call_probability']:.4g}",
    )
    yield "model", call["model"] or "not stored"
    digest = call["prompt_digest"]
    yield "prompt", f"{digest}; its text is in the table prompts" if digest else "none was shown"
    runs = {stage: call[f"{stage}_run"] for stage in ("sampling", "execution", "decision")}
    yield "runs", ", ".join(f"{stage} {run}" for stage, run in runs.items() if run) or "not stored"
    if call["is_kept"] is not None:
        yield from _losses_of(call)


def _losses_of(call: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    losses = {
        "L(ε)": call["loss_without_call"],
        "L(e(c, ε))": call["loss_call_without_result"],
        "L(e(c, r))": call["loss_with_result"],
    }
    values = (f"{name} = {_number(loss) or 'not needed'}" for name, loss in losses.items())
    yield "losses", f"{', '.join(values)} nats ({call['precision']})"
    reduction = _number(call["loss_reduction"]) or "not known"
    yield "reduction", f"{reduction} nats; the threshold is {call['filtering_threshold']:g}"
    if call["swapped_result"] is not None:
        loss = _number(call["loss_with_swapped_result"])
        yield (
            "other result",
            f"{call['swapped_result']} (of {call['swapped_call_id']}): loss {loss}",
        )
    if call["contrast"] is not None:
        threshold = call["contrast_threshold"]
        wanted = "" if threshold is None else f"; the threshold is {threshold:g}"
        yield "contrast", f"{call['contrast']:.3f} nats less than with the other result{wanted}"


def status_of(call: Mapping[str, Any]) -> str:
    """How far a call came and why no further; of a scored call the decision in words."""
    reason = call["reason"]
    because = f": {reason.replace('_', ' ')}" if reason else ""
    if call["is_kept"] is not None:
        named = "kept" if call["is_kept"] else f"dropped ({reason.replace('_', ' ')})"
        return f"{named}: {_DECISIONS[FilterReason(reason)]}"
    if call["dropped_by"] == "sampling":
        return f"dropped after sampling{because}"
    if call["tool_version"] is None:
        return "sampled, not executed yet"
    if reason == PEEKS:
        return "not executed: it peeks at the text behind it"
    return f"execution failed{because}" if call["result"] is None else "executed, not scored yet"


def _number(value: float | None) -> str:
    """A weight, loss or log-probability; empty where there is none."""
    return "" if value is None else f"{value:.3f}"
