"""`toolformer explain`: show one call in its text, its losses token by token, and the decision."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from assets.dataset.execution import PEEKS
from dagster_project.commands import console
from dagster_project.commands.options import AsJson, Changes, RunOptions
from dagster_project.commands.recomputation import (
    LOSSES,
    CannotRecomputeError,
    Recomputation,
    recompute,
)
from toolformer.filtering import FilterReason
from toolformer.forward.precision import FLOAT32
from toolformer.home.reading import Home
from tools.protocol import ToolCall
from tools.syntax import format_call

# Number of characters shown before and after a call.
_CONTEXT = 240
_COLUMNS = ("token", "weight", "no call", "no result", "result", "swapped result", "gain")
_PLACEMENTS = {"inline": "at its position in the text", "prefix": "before the text"}
_PRUNED = "the reduction cannot reach scoring.lowest_threshold, so no further losses were computed"
_DECISIONS = {
    FilterReason.KEPT: "the reduction reaches the threshold",
    FilterReason.BELOW_THRESHOLD: "the reduction does not reach the threshold",
    FilterReason.BELOW_CONTRAST: "the result of another call helps almost as much",
    FilterReason.NO_SWAPPED_RESULT: "no other call has a different result to compare with",
    FilterReason.LOSS_WITHOUT_CALL_BELOW_LOWEST_THRESHOLD: _PRUNED,
    FilterReason.BOUND_BELOW_LOWEST_THRESHOLD: _PRUNED,
    FilterReason.NOT_FINITE: "a loss is not a finite number",
    FilterReason.NO_TEXT_AFTER_POSITION: "no text follows the call",
}

app = typer.Typer()


@app.command()
def explain(
    call_id: Annotated[str, typer.Argument(help="Id of the call, or its first characters.")],
    no_model: Annotated[
        bool, typer.Option("--no-model", help="Show only what is stored, without loading a model.")
    ] = False,
    as_json: AsJson = False,
    changes: Changes = None,
) -> None:
    """Show one call in its text, its losses token by token, and the decision."""
    home = Home()
    call = home.explain(call_id)
    recomputation, why_not = None, "--no-model was given"
    if call["filtering_threshold"] is None:
        why_not = "it has no losses"
    elif not no_model:
        try:
            with console.progress_bars():
                recomputation, why_not = recompute(call, RunOptions.of(changes), home.paths), None
        except CannotRecomputeError as error:
            why_not = str(error)
    if as_json:
        tokens = recomputation and dataclasses.asdict(recomputation)
        console.document({**call, "recomputation": tokens, "not_recomputed": why_not})
    else:
        _show_call(call, recomputation)
        if why_not is not None and not no_model and call["filtering_threshold"] is not None:
            console.say(f"\nThe losses were not recomputed. {why_not}")


def _show_call(call: Mapping[str, Any], recomputation: Recomputation | None) -> None:
    """Print a row of `explained_call.sql`, and the losses per token if they were recomputed."""
    console.heading(f"Call {call['call_id']}")
    console.show(Text.assemble("\n", *_in_its_text(call), "\n"))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in _facts_of(call):
        facts.add_row(label, Text(value))
    console.show(facts)
    if recomputation is not None:
        _show_tokens(call, recomputation)


def _in_its_text(call: Mapping[str, Any]) -> Iterator[str | tuple[str, str]]:
    before, after = _context(call)
    yield before
    if call["arguments"] is None:
        # The sample is not a valid call.
        yield f" [{call['sample_text']}", "bold cyan"
    else:
        parsed = ToolCall(call["tool"], call["arguments"])
        if call["result"] is None:
            yield format_call(parsed, empty_result_keeps_arrow=False), "bold cyan"
        else:
            written, arrow, answer = format_call(parsed, call["result"]).partition(" -> ")
            yield written, "bold cyan"
            yield arrow + answer, "bold magenta"
    yield after


def _context(call: Mapping[str, Any]) -> tuple[str, str]:
    if call["text"] is None:
        return "(the text is not stored) ", ""
    offset = call["character_offset"]
    before, after = call["text"][:offset], call["text"][offset:]
    start, end = "…" * (len(before) > _CONTEXT), "…" * (len(after) > _CONTEXT)
    return start + before[-_CONTEXT:], after[:_CONTEXT] + end


def _show_tokens(call: Mapping[str, Any], recomputation: Recomputation) -> None:
    losses = recomputation.losses
    rows = [
        # Quotes and escapes make spaces and line breaks visible.
        (json.dumps(text, ensure_ascii=False), *map(_number, (*numbers, gain)))
        for (_, text, *numbers), gain in zip(
            map(dataclasses.astuple, recomputation.tokens), recomputation.gains, strict=True
        )
    ]
    sums = (*(getattr(losses, name) for name in LOSSES), sum(recomputation.gains))
    console.heading(
        "log p of the tokens after the call, in nats, with the call "
        f"{_PLACEMENTS[recomputation.placement]}"
    )
    console.table(_COLUMNS, [*rows, ("weighted loss", "", *map(_number, sums))])
    console.say(
        "gain: weight times the increase of log p through the result. The sum is L⁻ - L⁺.\n"
        f"Model: {recomputation.model}, {FLOAT32}.\n"
        f"These losses differ by up to {recomputation.largest_difference:.4f} nats from the stored "
        f"ones, which were computed in {call['precision']}."
    )


def _facts_of(call: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "tool", f"{call['tool']}, round {call['round']}"
    if call["arguments"]:
        yield "arguments", call["arguments"]
    yield "sampled as", call["sample_text"]
    if call["proposed"] in ("position", "call"):
        yield "proposed", f"the tool proposed the {call['proposed']}"
    if call["result"] is not None:
        yield "result", call["result"]
    yield "status", _status_of(call)
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
    probability = call["call_probability"]
    yield (
        "position",
        f"window {call['window_index']}, token {call['position']}, character "
        f"{call['character_offset']}"
        + ("" if probability is None else f"; p(' [') = {probability:.4g}"),
    )
    yield "model", call["model"] or "not stored"
    digest = call["prompt_digest"]
    yield "prompt", f"{digest}; its text is in the table prompts" if digest else "none"
    runs = {stage: call[f"{stage}_run"] for stage in ("sampling", "execution", "decision")}
    yield "runs", ", ".join(f"{stage} {run}" for stage, run in runs.items() if run) or "not stored"
    if call["filtering_threshold"] is not None:
        yield from _losses_of(call)


def _losses_of(call: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    losses = {
        "L(ε)": call["loss_without_call"],
        "L(e(c, ε))": call["loss_call_without_result"],
        "L(e(c, r))": call["loss_with_result"],
    }
    values = (f"{name} = {_number(loss) or 'not needed'}" for name, loss in losses.items())
    yield "losses", f"{', '.join(values)} nats ({call['precision']})"
    reduction = _number(call["loss_reduction"]) or "unknown"
    at_most = "at most " if _DECISIONS[call["reason"]] is _PRUNED else ""
    threshold = f"the threshold is {call['filtering_threshold']:g}"
    yield "reduction", f"{at_most}{reduction} nats; {threshold}"
    if call["swapped_result"] is not None:
        loss = _number(call["loss_with_swapped_result"])
        yield (
            "swapped result",
            f"{call['swapped_result']} (from call {call['swapped_call_id']}): loss {loss}",
        )
    if call["contrast"] is not None:
        threshold = call["contrast_threshold"]
        wanted = "" if threshold is None else f"; the threshold is {threshold:g}"
        yield "contrast", f"{call['contrast']:.3f} nats less than with the swapped result{wanted}"


def _status_of(call: Mapping[str, Any]) -> str:
    """Return the decision on a scored call, or else the last stage that the call reached."""
    reason = call["reason"]
    because = f": {reason.replace('_', ' ')}" if reason else ""
    if call["filtering_threshold"] is not None:
        named = "kept" if call["is_kept"] else f"dropped ({reason.replace('_', ' ')})"
        return f"{named}: {_DECISIONS[FilterReason(reason)]}"
    if call["dropped_by"] == "sampling":
        return f"dropped after sampling{because}"
    if call["tool_version"] is None:
        return "sampled, not executed yet"
    if reason == PEEKS:
        return "not executed: it uses text that only appears after the call"
    return f"execution failed{because}" if call["result"] is None else "executed, not scored yet"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
