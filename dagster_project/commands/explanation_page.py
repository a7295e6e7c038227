"""`toolformer explain --output`: the call in its text, token by token, as a page like the report.

Does not compute.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dagster_project.commands.explained_call import ExplainedCall, Recomputation
from dagster_project.commands.explanation_tables import (
    CHOSEN_BY,
    Written,
    facts_of,
    number,
    verdict,
    written,
)
from dagster_project.plots.style import colour_of
from dagster_project.report.page import rendered
from toolformer.errors import ToolformerError
from toolformer.explanation import ExplainedToken
from toolformer.ground.whole_files import write_whole

# Of its colour a token has at most so many percent: letters stay legible.
_STRONGEST = 60


class Shade(NamedTuple):
    """How much a token helped: its gain in nats, and the percent of colour that stand for it."""

    gain: float
    percent: int


class Told(NamedTuple):
    """A token of the page, its numbers as the page shows them."""

    text: str
    weight: str
    without_call: str
    call_without_result: str
    with_result: str
    with_foreign_result: str


class Panel(NamedTuple):
    """The text with the call and one result, and what that result does to each token."""

    caption: str
    note: str
    call: Written
    shades: list[Shade]


class Tokens(NamedTuple):
    """What the page shows of the losses computed again."""

    told: list[Told]
    panels: list[Panel]
    text_behind: str
    sums: list[str]
    placed: str
    verdict: str


def write_page(
    file: Path, call: ExplainedCall, again: Recomputation | None, why_not: str | None
) -> None:
    """Write the page of one call, whole or not at all.

    Args:
        file: where to; one that is there is replaced.
        call: as it is stored.
        again: its losses token by token.
        why_not: the reason why there are none.

    Raises:
        ToolformerError: the file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, page_of_call(call, again, why_not), is_durable=False)
    except OSError as error:
        raise ToolformerError(
            f"Cannot write the page to {str(file)!r}: {error}. Expected a file in a folder that "
            "may be written; name another one with --output."
        ) from error


def page_of_call(call: ExplainedCall, again: Recomputation | None, why_not: str | None) -> str:
    """The page, with everything that it needs inside."""
    return rendered(
        "call.html.jinja",
        call=call,
        written=written(call, call.execution.result if call.execution else None),
        colour=colour_of(call.tool),
        facts=[(name, str(value)) for name, value in facts_of(call)],
        tokens=again and _tokens(call, again),
        again=again,
        why_not=why_not,
    )


def _tokens(call: ExplainedCall, again: Recomputation) -> Tokens:
    panels = list(_panels(call, again))
    losses = again.losses
    sums = (
        losses.loss_without_call,
        losses.loss_call_without_result,
        losses.loss_with_result,
        losses.loss_with_foreign_result,
    )
    behind = "".join(token.text for token in again.tokens)
    after = call.place.text_after or ""
    return Tokens(
        told=[_told(token) for token in again.tokens],
        panels=panels,
        # A token can be a part of a character, which the text does not have.
        text_behind=after.removeprefix(behind) if after.startswith(behind) else " …",
        sums=[number(value) for value in sums],
        placed="at its place in the text"
        if again.placement == "inline"
        else "in front of the text",
        verdict=verdict(again.is_kept, again.reason),
    )


def _told(token: ExplainedToken) -> Told:
    return Told(
        text=token.text,
        weight=f"{token.weight:.3f}",
        without_call=number(token.without_call),
        call_without_result=number(token.call_without_result),
        with_result=number(token.with_result),
        with_foreign_result=number(token.with_foreign_result),
    )


def _panels(call: ExplainedCall, again: Recomputation) -> Iterator[Panel]:
    """The own result and the foreign one, shaded by the same measure."""
    own = list(again.gains)
    foreign = _foreign_gains(again)
    strongest = max((abs(gain) for gain in own + foreign), default=0) or 1

    def shaded(gains: list[float]) -> list[Shade]:
        return [Shade(gain, round(_STRONGEST * abs(gain) / strongest)) for gain in gains]

    result = call.execution.result if call.execution else None
    losses = again.losses
    note = f"loss {number(losses.loss_with_result)} nats"
    yield Panel("With its own result", note, written(call, result), shaded(own))
    if again.foreign is not None:
        note = f"loss {number(losses.loss_with_foreign_result)} nats; the result of "
        note += f"{again.foreign.call_id[:8]}, {CHOSEN_BY[again.foreign.chosen_by]}"
        of_other = written(call, again.foreign.result)
        yield Panel("With the result of another call", note, of_other, shaded(foreign))


def _foreign_gains(again: Recomputation) -> list[float]:
    """What each token would add to the loss reduction with the foreign result, in nats."""
    return [
        gain + token.weight * (token.with_foreign_result - token.with_result)
        for token, gain in zip(again.tokens, again.gains, strict=True)
        if token.with_foreign_result is not None
    ]
