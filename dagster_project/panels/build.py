"""The commands of the panel Build: from texts to a model and what it gains."""

from typing import Annotated, Literal

import typer

from dagster_project.commands.flags import AsJson, Changes, Force, ToolNames, VariantName, names_in
from toolformer.settings.corpus_sections import (
    DATE_COLUMN,
    TEXT_COLUMN,
    TITLE_COLUMN,
    URL_COLUMN,
    GivenFormat,
)

RecipeName = Literal["demo", "small"]

app = typer.Typer()


@app.command()
def ingest(
    sources: Annotated[
        list[str], typer.Argument(help="Files, folders or globs.", metavar="SOURCE…")
    ],
    limit: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of records, from the start.")
    ] = None,
    shard_size: Annotated[int | None, typer.Option(min=1, help="Records per shard.")] = None,
    file_format: Annotated[
        GivenFormat, typer.Option("--format", help="Format of the files. Default: by their names.")
    ] = "auto",
    text_column: Annotated[str, typer.Option(help="Column with the text.")] = TEXT_COLUMN,
    url_column: Annotated[str, typer.Option(help="Column with the address.")] = URL_COLUMN,
    date_column: Annotated[
        str, typer.Option(help="Column with the publication date.")
    ] = DATE_COLUMN,
    title_column: Annotated[str, typer.Option(help="Column with the title.")] = TITLE_COLUMN,
    context_column: Annotated[
        str | None, typer.Option(help="Column whose text precedes the document in training.")
    ] = None,
    strip_marks: Annotated[
        bool,
        typer.Option(
            "--strip-marks",
            help="Take out chat marks such as <|im_end|>, GSM8K's << >> and ####, and calls.",
        ),
    ] = False,
) -> None:
    """List sources of text in sources.json and cut them into shards."""
    from dagster_project.commands.ingestion import ingest_sources

    given = {
        "limit": limit,
        "shard_size": shard_size,
        "format": file_format,
        "text_column": text_column,
        "url_column": url_column,
        "date_column": date_column,
        "title_column": title_column,
        "context_column": context_column,
        "strip_marks": strip_marks,
    }
    ingest_sources(sources, given)


@app.command()
def build(
    shards: Annotated[
        str | None,
        typer.Option(
            metavar="a,b,0:64",
            help="Only these shards: keys, or ranges of their numbers, here those below 64.",
        ),
    ] = None,
    tools: ToolNames = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Build and train the rounds 1 to N that `rounds` in toolformer.yaml lists, one "
            "after the other.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be made, why and at what cost.")
    ] = False,
    force: Force = False,
    changes: Changes = None,
) -> None:
    """Sample, execute and filter calls, and merge them into the texts."""
    from dagster_project.commands.building import build_dataset
    from dagster_project.commands.options import RunOptions

    options = RunOptions.of(changes, force=force, tools=names_in(tools))
    chosen = names_in(shards)
    if rounds is None:
        build_dataset(options, shards=chosen, dry_run=dry_run)
    elif chosen:
        raise typer.BadParameter("--rounds builds all shards. Leave --shards out.")
    else:
        from dagster_project.commands.rounds import run_rounds

        run_rounds(options, until=rounds, dry_run=dry_run)


@app.command()
def train(
    variant: VariantName = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make the training set and say what is planned.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Train also what is up to date, or on too few texts.")
    ] = False,
    changes: Changes = None,
) -> None:
    """Finetune the model, or one of its controls, on the augmented texts of all shards."""
    from dagster_project.commands.options import RunOptions
    from dagster_project.commands.training import train_model

    options = RunOptions.of(changes, force=force, variant=variant)
    train_model(options, dry_run=dry_run)


@app.command()
def evaluate(
    benchmarks: Annotated[
        str | None, typer.Option(help="Benchmarks, comma-separated; `--list` names all.")
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Models, comma-separated: base, finetuned, plain, your own …")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Maximum items of each benchmark.")
    ] = None,
    list_all: Annotated[
        bool, typer.Option("--list", help="List all benchmarks and what they need; run none.")
    ] = False,
    as_json: AsJson = False,
    variant: VariantName = None,
    tools: ToolNames = None,
    force: Force = False,
    changes: Changes = None,
) -> None:
    """Measure models by benchmarks, calls disabled and enabled; by default base and finetuned."""
    from dagster_project.commands.evaluating import evaluate_models, list_benchmarks
    from dagster_project.commands.options import RunOptions

    options = RunOptions.of(
        changes,
        force=force,
        tools=names_in(tools),
        variant=variant,
        benchmarks=names_in(benchmarks),
        items=limit,
    )
    if list_all:
        list_benchmarks(options, as_json=as_json)
    else:
        evaluate_models(options, models=names_in(models))


@app.command()
def recipe(name: Annotated[RecipeName, typer.Argument(help="Recipe name.")]) -> None:
    """From texts to a table that says what the calls gain: build, train, evaluate, report."""
    from dagster_project.commands.recipe import run_recipe

    run_recipe(name)
