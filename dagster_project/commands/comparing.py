"""`toolformer compare`: what two homes keep, or two rounds of one, and why not the same."""

from pathlib import Path

from dagster_project.commands import console
from toolformer.home.reading import Home
from toolformer.home.report.comparison import kept_calls, notes_of, page_of_comparison, reason_of
from toolformer.home.report.page import check_page, write_page

# Rows of a table that are printed; JSON and the page have all.
_ROWS = 30


def compare(
    folders: tuple[str, str], rounds: tuple[int, int], *, as_json: bool, output: Path | None
) -> None:
    """Print the kept calls of two homes by tool and shard, and ten examples in their texts.

    Args:
        folders: the homes, which may be the same.
        rounds: round of annotation of each.
        as_json: print an object in place of tables.
        output: file of a page to write, in place of tables.

    Raises:
        ComparisonError: there is nothing to compare.
        ToolformerError: the page cannot be written, or something else is there.
    """
    if output is not None:
        check_page(output)
    first, second = map(Home, folders)
    found = first.warehouse.compare(second.warehouse, rounds)
    named = [f"{path}, round {number}" for path, number in zip(folders, rounds, strict=True)]
    homes = {"first": named[0], "second": named[1]}
    if output is not None:
        write_page(output, page_of_comparison(found, homes))
        console.say(f"Page: {output}")
        return
    notes, tables = list(notes_of(found)), {by: kept_calls(found, by) for by in ("tool", "shard")}
    if as_json:
        rows = {f"by_{by}": frame.to_dicts() for by, frame in tables.items()}
        examples = found.examples.to_dicts()
        console.document({**homes, "notes": notes, **rows, "examples": examples})
        return
    console.say("\n".join([*(f"{name}: {home}" for name, home in homes.items()), *notes]))
    for by, frame in tables.items():
        console.heading(f"Kept calls by {by}, and why only one home keeps them")
        console.frame(frame.head(_ROWS).rename({"kept_by": "kept by"}))
        if frame.height > _ROWS:
            console.say(f"{frame.height - _ROWS:,} further rows: --json and --output have them.")
    console.heading("Calls that only one keeps, in their texts")
    for row in found.examples.iter_rows(named=True):
        call = f"⟦{row['tool']}({row['arguments']}) -> {row['result']}⟧"
        context = " ".join(f"{row['text_before']}{call}{row['text_after']}".split())
        console.say(f"… {context} …\n  {row['call_id']}: {reason_of(row, found)}")
