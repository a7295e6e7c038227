"""The commands of the panel Maintain: this machine, sources, tools."""

from typing import Annotated

import typer

from dagster_project.commands.flags import AsJson, Changes, ToolName

app = typer.Typer()
sources_app = typer.Typer(help="The sources of the corpus.", no_args_is_help=True)
tools_app = typer.Typer(help="The tools.", no_args_is_help=True)
app.add_typer(sources_app, name="sources")
app.add_typer(tools_app, name="tools")


@app.command()
def doctor(
    as_json: AsJson = False,
    full: Annotated[
        bool, typer.Option("--full", help="Read all partitions to find damaged ones.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Instead load this model (a directory, or `embedded`), compare its numbers with "
            "those of plain transformers, and say what it costs; exit code 1 where they differ.",
            metavar="PATH",
        ),
    ] = None,
) -> None:
    """Show what is missing here and how to get it; exit code 1 on damaged files."""
    from dagster_project.commands.doctor import show_findings
    from toolformer.home.home import Home

    if model is not None:
        from dagster_project.commands.doctor_model import show_model

        if not show_model(model, Home.find(), as_json=as_json):
            raise typer.Exit(1)
        return
    if not show_findings(Home.find(), is_full=full, as_json=as_json):
        raise typer.Exit(1)


@sources_app.command("list")
def sources_list(as_json: AsJson = False) -> None:
    """List the sources with their shards and records, and whether they are listed and exist."""
    from dagster_project.commands.sources import list_sources

    list_sources(as_json=as_json)


@sources_app.command("remove")
def sources_remove(
    source: Annotated[str, typer.Argument(help="The source, as `sources list` shows it.")],
) -> None:
    """Take a source out of sources.json and its shards out of the corpus."""
    from dagster_project.commands.sources import remove_source

    remove_source(source)


@tools_app.command("list")
def tools_list(as_json: AsJson = False) -> None:
    """List the tools: where they come from, their settings, and whether they can run here."""
    from dagster_project.commands.tooling import list_tools

    list_tools(as_json=as_json)


@tools_app.command("try", context_settings={"ignore_unknown_options": True})
def tools_try(
    name: ToolName,
    arguments: Annotated[
        str,
        typer.Argument(
            help="Arguments of the call, as between its brackets; put `--` first where they begin "
            "with a dash."
        ),
    ] = "",
    today: Annotated[
        str | None,
        typer.Option("--date", help="Date of the call's text, YYYY-MM-DD. Default: today."),
    ] = None,
    changes: Changes = None,
) -> None:
    """Make one call and print it with its result, or why there is none."""
    from dagster_project.commands.options import RunOptions
    from dagster_project.commands.tooling import try_tool

    options = RunOptions.of(changes)
    if not try_tool(name, arguments, options, today=today):
        raise typer.Exit(1)


@tools_app.command("check")
def tools_check(name: ToolName, changes: Changes = None) -> None:
    """Try out what a tool promises: prompt, arguments, errors, deadline, batches, settings."""
    from dagster_project.commands.options import RunOptions
    from dagster_project.commands.tooling import check_tool

    if not check_tool(name, RunOptions.of(changes)):
        raise typer.Exit(1)
