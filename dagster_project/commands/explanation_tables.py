"""How `toolformer explain` looks in a terminal: the call in its text, facts, tokens in colour.

Its page says the same facts. Does not compute and does not print.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dagster_project.commands.explained_call import (
    Decision,
    ExplainedCall,
    ForeignResult,
    Recomputation,
)
from toolformer.explanation import ExplainedToken
from tools.protocol import ToolCall
from tools.syntax import format_call

_HELPED, _HURT = "green", "red"
# A token that adds less to the reduction, in nats, has no colour.
_TELLING = 0.005
CHOSEN_BY = {
    "contrast": "compared with by the filter",
    "chance_level": "of the chance sample",
    "explain": "not stored; the one that a contrast would take",
}
"""How a foreign result was chosen, in words."""


class Written(NamedTuple):
    """A call as it is written: up to its arrow, and from there on (empty without a result)."""

    asked: str
    answered: str


def call_shown(call: ExplainedCall) -> Iterator[RenderableType]:
    """What is stored of a call."""
    yield Text(f"Call {call.call_id}", style="bold")
    yield Text()
    yield _in_its_text(call)
    yield Text()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in facts_of(call):
        facts.add_row(name, value)
    yield facts


def recomputation_shown(again: Recomputation) -> Iterator[RenderableType]:
    """The losses token by token, the weighted sums below, and what they decide."""
    where = "at its place in the text" if again.placement == "inline" else "in front of its text"
    title = f"log p of the tokens behind the call, in nats, with the call {where}"
    table = Table(title=title, title_justify="left", title_style="bold", show_footer=True)
    losses = again.losses
    sums = (
        losses.loss_without_call,
        losses.loss_call_without_result,
        losses.loss_with_result,
        losses.loss_with_foreign_result,
        again.loss_reduction,
    )
    table.add_column("token", footer="weighted loss")
    table.add_column("weight", justify="right")
    names = ("no call", "no result", "result", "other result", "gain")
    for name, value in zip(names, sums, strict=True):
        table.add_column(name, justify="right", footer=number(value))
    for token, gain in zip(again.tokens, again.gains, strict=True):
        table.add_row(*_cells(token, gain))
    yield Text()
    yield table
    if again.foreign is not None:
        chosen_by = CHOSEN_BY[again.foreign.chosen_by]
        yield Text(
            f"other result: {again.foreign.result} (of {again.foreign.call_id}; {chosen_by})"
        )
    yield Text("gain: weight times how much the result raises log p; together L⁻ - L⁺.")
    yield Text(f"Model: {again.model}, {again.precision}.")
    colour = _HELPED if again.is_same_decision else _HURT
    yield Text(f"{verdict(again.is_kept, again.reason)}. {again.remark}", style=colour)


def written(call: ExplainedCall, result: str | None) -> Written:
    """The call with a result, its own or another's; what the model wrote where that is no call."""
    if call.arguments is None:
        return Written(f" [{call.sample.sample_text}", "")
    parsed = ToolCall(call.tool, call.arguments)
    if result is None:
        return Written(format_call(parsed, empty_result_keeps_arrow=False), "")
    asked, arrow, answer = format_call(parsed, result).partition(" -> ")
    return Written(asked, arrow + answer)


def _in_its_text(call: ExplainedCall) -> Text:
    asked, answered = written(call, call.execution.result if call.execution else None)
    return Text.assemble(
        call.place.text_before or "(the text is not stored) ",
        (asked, "bold cyan"),
        (answered, "bold magenta"),
        call.place.text_after or "",
    )


def facts_of(call: ExplainedCall) -> Iterator[tuple[str, str | Text]]:
    """What is stored of a call and its decision, line by line."""
    place, sample, provenance = call.place, call.sample, call.provenance
    yield "tool", f"{call.tool}, round {call.round}"
    if call.arguments:
        yield "arguments", call.arguments
    yield "sampled as", sample.sample_text
    if sample.proposed in ("position", "call"):
        yield "proposed", f"the tool proposed the {sample.proposed}"
    yield from _outcome(call)
    yield "document", _joined(place.title, place.url, f"{place.document_id} of {place.shard}")
    if place.source is not None:
        yield "source", f"{place.source}, record {place.source_offset}"
    yield (
        "place",
        f"window {place.window}, token {place.position}, character {place.character_offset}; "
        f"p(' [') = {sample.call_probability:.4g}",
    )
    yield "model", provenance["model"] or "not stored"
    yield "prompt", _prompt_of(call)
    yield "runs", _runs_of(call)
    if call.decision is not None:
        yield from _decision(call.decision)
        if call.foreign is not None:
            yield "other result", _foreign(call.foreign, call.decision)


def _outcome(call: ExplainedCall) -> Iterator[tuple[str, str | Text]]:
    because = f": {call.status_reason.replace('_', ' ')}" if call.status_reason else ""
    if call.status == "dropped":
        yield "status", Text(f"dropped after sampling{because}", style=_HURT)
    elif call.execution is None:
        yield "status", "sampled, not executed yet"
    elif call.execution.result is None:
        yield "status", Text(f"execution failed{because}", style=_HURT)
    else:
        yield "result", Text(call.execution.result, style="magenta")
        yield "status", call.status + ("" if call.decision else ", not scored yet")
    if call.execution is not None:
        cached = ", from the cache" if call.execution.from_cache else ""
        version = f"version {call.execution.tool_version}"
        yield "executed", f"by {version} in {call.execution.duration_ms:.1f} ms{cached}"


def _prompt_of(call: ExplainedCall) -> str:
    digest = call.provenance["prompt_digest"]
    if digest is None:
        # Older slices without parts do not even say that.
        return "none was shown" if call.provenance["sampling_parts"] else "not stored"
    if call.provenance["prompt"] is None:
        return f"{digest}; its text is not stored"
    return f"{digest}; its text is in the table prompts"


def _runs_of(call: ExplainedCall) -> str:
    stages = ("sampling", "execution", "decision")
    runs = {stage: call.provenance[f"{stage}_run"] for stage in stages}
    return ", ".join(f"{stage} {run}" for stage, run in runs.items() if run) or "not stored"


def _decision(decision: Decision) -> Iterator[tuple[str, str | Text]]:
    yield "losses", _losses(decision)
    style = _HELPED if decision.is_kept else _HURT
    told = verdict(decision.is_kept, decision.reason)
    yield "decision", Text.assemble((told, style), f": {decision.words}")


def _losses(decision: Decision) -> str:
    named = {
        "L(ε)": decision.loss_without_call,
        "L(e(c, ε))": decision.loss_call_without_result,
        "L(e(c, r))": decision.loss_with_result,
    }
    told = ", ".join(f"{name} = {number(value) or 'not needed'}" for name, value in named.items())
    return f"{told} nats ({decision.precision})"


def _foreign(foreign: ForeignResult, decision: Decision) -> str:
    told = f"{foreign.result} (of {foreign.call_id}; {CHOSEN_BY[foreign.chosen_by]})"
    own = decision.loss_with_result
    if foreign.loss is None or own is None:
        return told
    contrast = foreign.loss - own
    better = f"lower by {contrast:.3f}" if contrast >= 0 else f"higher by {-contrast:.3f}"
    return f"{told}: loss {foreign.loss:.3f}; with the own result it is {better}"


def verdict(is_kept: bool, reason: str) -> str:
    """A decision in a word or two."""
    return "kept" if is_kept else f"dropped ({reason.replace('_', ' ')})"


def _cells(token: ExplainedToken, gain: float) -> list[RenderableType]:
    colour = ""
    if abs(gain) >= _TELLING:
        colour = _HELPED if gain > 0 else _HURT
    # As in Python, so that spaces and line breaks are seen.
    text = json.dumps(token.text, ensure_ascii=False)
    return [
        Text(text, style=colour),
        f"{token.weight:.3f}",
        number(token.without_call),
        number(token.call_without_result),
        Text(number(token.with_result), style=colour),
        number(token.with_foreign_result),
        Text(f"{gain:+.3f}", style=colour),
    ]


def number(value: float | None) -> str:
    """A loss or log-probability in nats; empty where there is none."""
    return "" if value is None else f"{value:.3f}"


def _joined(*parts: Any) -> str:
    return ", ".join(str(part) for part in parts if part)
