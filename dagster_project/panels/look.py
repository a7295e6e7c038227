"""The commands of the panel Look: calls, losses, reasons and scores."""

from pathlib import Path
from typing import Annotated

import typer

from dagster_project.commands import labels
from dagster_project.commands.flags import AsJson, Changes, expanded
from toolformer.exports import ArgumentsForm, ExportFormat

app = typer.Typer()
app.add_typer(labels.app, name="labels")


@app.command()
def stats() -> None:
    """Funnel, thresholds, reasons and examples of the calls so far."""
    from dagster_project.commands.reporting import show_all_statistics

    show_all_statistics()


# A query may begin with a comment (`-- …`), which is no option.
@app.command(context_settings={"ignore_unknown_options": True})
def sql(
    query: Annotated[
        str | None,
        typer.Argument(
            help="One SELECT over the warehouse's tables and views; `-`, or none where something "
            "is piped in: standard input.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")] = False,
    files: Annotated[
        str | None,
        typer.Option(
            help="In place of a query: print the paths of the Parquet files that hold the rows of "
            "a table now. Files that were replaced lie beside them for a while.",
            metavar="TABLE",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Query the warehouse in SQL: calls, losses, reasons, texts and scores."""
    from dagster_project.commands.querying import show_files, show_rows

    if files is not None:
        if query is not None or as_csv:
            raise typer.BadParameter(
                "it takes the place of a query, and lists one path a line, or JSON with --json.",
                param_hint="--files",
            )
        show_files(files, as_json=as_json)
        return
    show_rows(query, output="json" if as_json else "csv" if as_csv else "table")


@app.command()
def report(
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write. Default: report.html in the home, which the UI opens.",
            show_default=False,
            callback=expanded,
        ),
    ] = None,
) -> None:
    """One HTML page: kept calls against chance, gains, costs, and the texts with their calls."""
    from dagster_project.commands.reporting import make_report

    make_report(output)


@app.command()
def explain(
    call_id: Annotated[str, typer.Argument(help="Id of the call, or the beginning of it.")],
    no_model: Annotated[
        bool, typer.Option("--no-model", help="Show only what is stored, without loading a model.")
    ] = False,
    as_json: AsJson = False,
    changes: Changes = None,
) -> None:
    """One call in its text: where it comes from, its losses token by token, and the decision."""
    from dagster_project.commands import explaining
    from dagster_project.commands.options import RunOptions

    options = RunOptions.of(changes)
    explaining.explain(call_id, options, with_model=not no_model, as_json=as_json)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="Folder of a home.", metavar="HOME_A")],
    second: Annotated[str, typer.Argument(help="Another, or the same.", metavar="HOME_B")],
    rounds: Annotated[
        tuple[int, int], typer.Option(min=1, help="Round of annotation of each.", metavar="A B")
    ] = (1, 1),
    as_json: AsJson = False,
) -> None:
    """Which calls two homes keep, by tool and shard, and why only one keeps the others."""
    from dagster_project.commands import comparing

    comparing.compare((first, second), rounds, as_json=as_json)


@app.command()
def export(
    form: Annotated[ExportFormat, typer.Argument(help="What to write.", metavar="FORMAT")],
    output: Annotated[
        Path,
        typer.Option(
            help="File to write, for a dataset the folder; nothing may be there.", callback=expanded
        ),
    ],
    round_number: Annotated[
        int | None, typer.Option("--round", min=1, help="Round of annotation. Default: the newest.")
    ] = None,
    arguments: Annotated[
        ArgumentsForm,
        typer.Option(
            help="Arguments and tools of sft as objects, or as JSON texts, which every reader "
            "leaves as they are."
        ),
    ] = "objects",
) -> None:
    """Write the augmented texts C* and their calls for other programs.

    FORMAT is one of these; docs/export.md says how to read each.

    \b
    dataset     a folder for datasets.load_dataset: Parquet and a card that
                describes each column of the texts and of the kept calls
    sft         JSON lines for TRL's SFTTrainer: messages (with tool_calls), tools
    text        JSON lines: texts with their calls in line, as in the paper
    """  # noqa: D301 – Click keeps the lines after a backspace as they are.
    from toolformer.home.home import Home

    if arguments != "objects" and form != "sft":
        raise typer.BadParameter(
            f"{form} has no arguments by name. Leave it out.", param_hint="--arguments"
        )
    from dagster_project.commands.exporting import write_export

    given = {"round_number": round_number, "arguments": arguments}
    write_export(form, Home.find(), output, **given)
