"""`toolformer labels`: let people judge kept calls in a spreadsheet."""

from pathlib import Path
from typing import Annotated

import typer

from dagster_project.commands import console
from toolformer.errors import ToolformerError
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import open_warehouse
from warehouse.label_sheets import draw_sheet, read_sheet, store_judgements, write_sheet

app = typer.Typer()
labels_app = typer.Typer(help="Let people judge kept calls in a spreadsheet.", no_args_is_help=True)
app.add_typer(labels_app, name="labels")


@labels_app.command()
def draw(
    output: Annotated[Path, typer.Option(help="CSV file to write; it must not exist yet.")],
    judge: Annotated[
        str | None,
        typer.Option(
            help="Leave out calls that this person has judged. Default: the whole sample."
        ),
    ] = None,
) -> None:
    """Write a random sample of kept calls, up to 100 per tool, to a CSV file for a spreadsheet."""
    drawn = draw_sheet(open_warehouse(Home.find()), judge)
    if not drawn.sampled:
        raise ToolformerError("No call is kept yet. Run `toolformer build` first.")
    if drawn.sheet.is_empty():
        console.say(f"{judge} has judged all {drawn.sampled} calls of the sample.")
        return
    write_sheet(drawn.sheet, output)
    console.say(
        f"{output} has {drawn.sheet.height} of the {drawn.sampled} sampled calls. For each call, "
        "write into the column `label` whether its result helps to write the text after it: "
        "useful, not_useful or unsure. Then run `toolformer labels read`."
    )


@labels_app.command()
def read(
    sheet: Annotated[Path, typer.Argument(help="The sheet, saved as CSV.", metavar="FILE")],
    judge: Annotated[str, typer.Option(help="Name of the person who filled in the sheet.")],
) -> None:
    """Store the judgements of a sheet. Reading it again stores only the changes."""
    name = judge.strip()
    if not name:
        raise typer.BadParameter(
            "The name is empty. Expected the name of the person.", param_hint="--judge"
        )
    home = Home.find()
    rows = read_sheet(sheet)
    with home.output_lock("labels"):
        stored = store_judgements(open_warehouse(home), name, rows)
    empty = rows.height - stored.new - stored.unchanged
    console.say(
        f"Judgements of {name}: {stored.new} new, {stored.unchanged} unchanged, {empty} empty."
    )
