"""The `toolformer` command: the same stages and settings as the Dagster UI, without a browser."""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dagster_project.command_groups import (
    cluster_app,
    evaluate_app,
    prompts_app,
    sources_app,
    tools_app,
)
from dagster_project.commands import console, export_formats
from dagster_project.examples import EXAMPLES
from dagster_project.flags import (
    AsJson,
    Changes,
    Force,
    ModelName,
    Place,
    Preset,
    Today,
    ToolNames,
    VariantName,
    names_in,
)
from toolformer.sources.source import DATE_COLUMN, TEXT_COLUMN, TITLE_COLUMN, URL_COLUMN

RecipeName = Literal["demo", "small"]
SourceFormat = Literal["auto", "jsonl", "parquet", "text", "wikipedia-dump", "warc"]

# The panels of the help, and the commands in each, in this order.
PANELS = {
    "Build": ("ingest", "build", "train", "evaluate", "recipe"),
    "Look": ("stats", "sql", "report", "explain", "export"),
    "Use": ("complete", "serve"),
    "Maintain": ("doctor", "sources", "tools", "prompts", "cluster", "check-vectors"),
}
_COLLECTIONS_BEFORE_A_FULL_ONE = 100

app = typer.Typer(
    no_args_is_help=True,
    # Inherited by every command.
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(tools_app, name="tools")
app.add_typer(sources_app, name="sources")
app.add_typer(prompts_app, name="prompts")
app.add_typer(cluster_app, name="cluster")


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        console.say(f"toolformer {version('toolformer')}")
        raise typer.Exit


@app.callback()
def toolformer(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version."),
    ] = False,
    _verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            callback=console.be_verbose,
            expose_value=False,
            help="Show what is fetched from an object store.",
        ),
    ] = False,
    _quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            callback=console.be_quiet,
            expose_value=False,
            help="Show no progress.",
        ),
    ] = False,
) -> None:
    """Let a language model teach itself to use tools (Toolformer, Schick et al. 2023)."""
    is_helping = not {"-h", "--help"}.isdisjoint(sys.argv)
    # These are there to find and mend what the others would refuse.
    is_mending = context.invoked_subcommand in ("cluster", "doctor")
    if os.environ.get("TOOLFORMER_STORE") and not (is_helping or is_mending):
        from dagster_project.home import Home
        from dagster_project.shared_files import bring_small, share_settings

        home = Home.find()
        bring_small(home)
        context.call_on_close(lambda: share_settings(home))


@app.command()
def doctor(
    as_json: AsJson = False,
    full: Annotated[
        bool, typer.Option("--full", help="Read all stored data, to find every damaged file.")
    ] = False,
) -> None:
    """Show what is available here and how to get what is missing; exit code 1 on damaged files."""
    from dagster_project.commands.doctor import show_findings
    from dagster_project.home import Home

    if not show_findings(Home.find(), is_full=full, as_json=as_json):
        raise typer.Exit(1)


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
        SourceFormat, typer.Option("--format", help="Format of the files. Default: by their names.")
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
) -> None:
    """List sources of text in sources.yaml and cut them into shards."""
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
    }
    ingest_sources(sources, given)


@app.command()
def build(
    shards: Annotated[str | None, typer.Option(help="Only these shards.", metavar="a,b")] = None,
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
        bool,
        typer.Option("--dry-run", help="Only show what would be made, why and how long it takes."),
    ] = False,
    on: Place = "here",
    force: Force = False,
    preset: Preset = None,
    changes: Changes = None,
) -> None:
    """Sample, execute and filter calls, and merge them into the texts."""
    from dagster_project.commands.building import build_dataset
    from dagster_project.commands.options import RunOptions
    from dagster_project.commands.rounds import run_rounds

    options = RunOptions.of(preset, changes, force=force, tools=names_in(tools))
    chosen, on_ray = names_in(shards), on == "ray"
    if rounds is None:
        build_dataset(options, shards=chosen, dry_run=dry_run, on_ray=on_ray)
    elif chosen:
        raise typer.BadParameter("--rounds builds all shards. Leave --shards out.")
    else:
        run_rounds(options, until=rounds, dry_run=dry_run, on_ray=on_ray)


@app.command()
def train(
    variant: VariantName = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make the training set and say what is planned.")
    ] = False,
    on: Place = "here",
    force: Annotated[
        bool, typer.Option("--force", help="Train also what is up to date, or on too few texts.")
    ] = False,
    preset: Preset = None,
    changes: Changes = None,
) -> None:
    """Finetune the model, or one of its controls, on the augmented texts of all shards."""
    from dagster_project.commands.options import RunOptions
    from dagster_project.commands.training import train_model

    options = RunOptions.of(preset, changes, force=force, variant=variant)
    train_model(options, dry_run=dry_run, on_ray=on == "ray")


@app.command()
def recipe(
    name: Annotated[RecipeName, typer.Argument(help="Recipe name.")],
    texts: Annotated[
        Path | None,
        typer.Option(
            help="Recipe small: folder with worked_problems, web_docs and wiki_passages. Default: "
            "the sources that toolformer.yaml lists."
        ),
    ] = None,
    benchmarks: Annotated[
        Path | None, typer.Option(help="Folder below which the files of the benchmarks lie.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of sampling and training.")] = 0,
) -> None:
    """From texts to a table that says what the calls gain: build, train, evaluate, report."""
    from dagster_project.commands.recipe import run_recipe

    run_recipe(name, texts=texts, benchmarks=benchmarks, seed=seed)


@app.command()
def complete(
    text: Annotated[str, typer.Argument(help="The text to continue.")],
    tools: ToolNames = None,
    no_tools: Annotated[bool, typer.Option("--no-tools", help="Disable calls.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Show every token.")] = False,
    model: ModelName = None,
    today: Today = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest completion, in tokens.")
    ] = None,
    preset: Preset = None,
    changes: Changes = None,
) -> None:
    """Continue a text, calling tools on the way."""
    from dagster_project.commands.completing import complete_text
    from dagster_project.commands.options import RunOptions

    complete_text(
        text,
        RunOptions.of(preset, changes, tools=names_in(tools)),
        with_calls=not no_tools,
        show_trace=trace,
        model_name=model,
        today=today,
        max_new_tokens=max_new_tokens,
    )


@app.command()
def serve(
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; beyond this machine needs TOOLFORMER_API_KEY."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any.")] = 8000,
    max_active: Annotated[
        int, typer.Option(min=1, help="Maximum texts that are decoded at the same time.")
    ] = 32,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Maximum texts that wait for a place; more are refused.")
    ] = 64,
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Also write prompts into the log.")
    ] = False,
    tools: ToolNames = None,
    model: ModelName = None,
    preset: Preset = None,
    changes: Changes = None,
) -> None:
    """Serve the model with live calls: OpenAI's API for completions, and a page at /."""
    from dagster_project.commands.options import RunOptions
    from dagster_project.commands.serving import serve_model

    serve_model(
        RunOptions.of(preset, changes, tools=names_in(tools)),
        model_name=model,
        host=host,
        port=port,
        max_active=max_active,
        max_waiting=max_waiting,
        logs_prompts=log_prompts,
    )


@app.command()
def report(
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write. Default: report.html in the home, which the UI opens.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """One HTML page: kept calls against chance, gains, costs, and the texts with their calls."""
    from dagster_project.commands.reporting import make_report

    make_report(output)


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
    file: Annotated[
        Path | None, typer.Option(help="File with the query.", metavar="QUERY.sql")
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")] = False,
) -> None:
    """Query the warehouse in SQL: calls, losses, reasons, texts and scores."""
    from dagster_project.commands.querying import show_rows

    show_rows(query, file=file, output="json" if as_json else "csv" if as_csv else "table")


@app.command()
def explain(
    call_id: Annotated[str, typer.Argument(help="Id of the call, or the beginning of it.")],
    no_model: Annotated[
        bool, typer.Option("--no-model", help="Show only what is stored, without loading a model.")
    ] = False,
    as_json: AsJson = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="HTML page to write, in the look of the report.",
            metavar="FILE.html",
            show_default=False,
        ),
    ] = None,
    preset: Preset = None,
    changes: Changes = None,
) -> None:
    """One call in its text: where it comes from, its losses token by token, and the decision."""
    from dagster_project.commands import explaining
    from dagster_project.commands.options import RunOptions

    options = RunOptions.of(preset, changes)
    explaining.explain(call_id, options, with_model=not no_model, as_json=as_json, output=output)


@app.command()
def stats() -> None:
    """Funnel, thresholds, reasons and examples of the calls so far."""
    from dagster_project.commands.reporting import show_all_statistics

    show_all_statistics()


@app.command(help=export_formats.HELP)
def export(
    form: Annotated[
        export_formats.ExportFormat, typer.Argument(help="What to write.", metavar="FORMAT")
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="File to write, for a dataset the folder; not for delta."),
    ] = None,
    round_number: Annotated[
        int | None,
        typer.Option(
            "--round",
            min=1,
            help="Round of annotation. Default: the newest; for DuckDB files, all.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
) -> None:
    """Write the augmented texts and their calls for other programs."""
    from dagster_project.home import Home

    if form != "delta":
        if output is None:
            raise typer.BadParameter(
                f"{form} needs a file or folder to write to.", param_hint="--output"
            )
        from dagster_project.commands.exporting import write_export

        write_export(form, Home.find(), output, round_number=round_number, is_forced=force)
    elif output is not None or round_number is not None or force:
        raise typer.BadParameter(
            "delta logs are written beside the rows of all rounds. Leave out "
            "--output, --round and --force."
        )
    else:
        from dagster_project.commands.delta_logs import refresh_delta_logs

        refresh_delta_logs(Home.find())


@app.command("check-vectors")
def check_vectors(
    file: Annotated[Path, typer.Argument(help="A file in the form of tests/vectors/vectors.json.")],
) -> None:
    """Run the method's test vectors through the installed functions."""
    from dagster_project.commands.vectors import check_file

    if not check_file(file):
        raise typer.Exit(1)


def _complete_command() -> Any:
    """The command with its panels; `-v`, `-q` and examples with every sub-command as well."""
    command: Any = typer.main.get_command(app)
    everywhere = [option for option in command.params if option.name in ("_verbose", "_quiet")]

    def add_options_and_examples(group: Any, path: str) -> None:
        for name, below in group.commands.items():
            below.params.extend(everywhere)
            if lines := EXAMPLES.get(path + name):
                below.epilog = "Examples:\n\n" + "\n\n".join(lines)
            if hasattr(below, "commands"):
                add_options_and_examples(below, f"{path}{name} ")

    add_options_and_examples(command, "")
    ordered = {}
    for panel, names in PANELS.items():
        for name in names:
            ordered[name] = command.commands[name]
            ordered[name].rich_help_panel = panel
    command.commands = ordered
    return command


def main(arguments: list[str] | None = None) -> Any:
    """Run the command; an expected error is one paragraph and exit code 1."""
    from dagster_project.commands.errors import explained_errors

    # What is imported stays: looking through it for garbage takes a tenth of a short command.
    gc.set_threshold(*gc.get_threshold()[:2], _COLLECTIONS_BEFORE_A_FULL_ONE)
    with explained_errors():
        _complete_command()(arguments)


if __name__ == "__main__":
    main()
