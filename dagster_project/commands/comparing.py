"""`toolformer compare`: what two homes keep, or two rounds of one, and why not the same."""

from pathlib import Path

from dagster_project.commands import console
from toolformer_home.reading import Home
from toolformer_home.report.comparison import (
    REASONS,
    ComparedHomes,
    compared_homes,
    page_of_comparison,
)
from toolformer_home.report.page import check_page, write_page

_EXAMPLES = 10
# Shards that are printed; JSON and the page have all.
_SHARDS = 20


def compare(
    first: str, second: str, rounds: tuple[int, int], *, as_json: bool, output: Path | None
) -> None:
    """Print the kept calls of two homes by tool and shard, and examples in their texts.

    Args:
        first, second: folders of the homes, which may be the same.
        rounds: round of annotation of each.
        as_json: print an object in place of tables.
        output: file of a page to write, in place of tables.

    Raises:
        ComparisonError: there is nothing to compare.
        ToolformerError: the page cannot be written, or something else is there.
    """
    if output is not None:
        check_page(output.expanduser())
    compared = compared_homes(Home(first), Home(second), rounds, examples=_EXAMPLES)
    if output is not None:
        write_page(output.expanduser(), page_of_comparison(compared))
    if as_json:
        found = compared.found
        console.document(
            {
                "first": compared.sides[0],
                "second": compared.sides[1],
                "notes": compared.notes,
                "is_same_model": found.is_same_model,
                "by_tool": compared.calls("tool").to_dicts(),
                "by_shard": compared.calls("shard").to_dicts(),
                "reasons": compared.reasons().to_dicts(),
                "examples": found.examples.to_dicts(),
            }
        )
    elif output is not None:
        console.say(f"Page: {output}")
    else:
        _show(compared)


def _show(compared: ComparedHomes) -> None:
    for name, side in zip(("first", "second"), compared.sides, strict=True):
        console.say(f"{name}: {'; '.join(f'{fact} {value}' for fact, value in side.items())}")
    console.say("\n".join(compared.notes))
    shards = compared.calls("shard")
    for title, rows in {
        "Kept calls by tool": compared.calls("tool"),
        "Why only one keeps them": compared.reasons(),
        "Kept calls by shard": shards.head(_SHARDS),
    }.items():
        if not rows.is_empty():
            console.heading(title)
            console.frame(rows.rename(lambda name: name.replace("_", " ")))
    if shards.height > _SHARDS:
        console.say(f"{shards.height - _SHARDS:,} further shards: --json and --output have them.")
    if compared.found.examples.is_empty():
        console.say("Both keep the same calls.")
        return
    console.say("\n".join(f"{why}: {meaning}" for why, meaning in REASONS.items()))
    console.heading("Calls that only one keeps, in their texts")
    for row in compared.found.examples.iter_rows(named=True):
        call = f"⟦{row['tool']}({row['arguments']}) -> {row['result']}⟧"
        context = " ".join(f"{row['text_before']}{call}{row['text_after']}".split())
        console.say(f"… {context} …\n  {compared.reason_of(row)}")
