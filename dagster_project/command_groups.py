"""The commands that come in groups: `evaluate`, `tools`, `sources`, `prompts`, `cluster`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

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

StudyName = Literal["k", "tools", "sizes"]

evaluate_app = typer.Typer(invoke_without_command=True)
tools_app = typer.Typer(help="The tools.", no_args_is_help=True)
sources_app = typer.Typer(help="The sources of the corpus.", no_args_is_help=True)
prompts_app = typer.Typer(help="The few-shot prompts of the tools.", no_args_is_help=True)
cluster_app = typer.Typer(
    help="The object store of machines that share a home.", no_args_is_help=True
)


@evaluate_app.callback()
def evaluate(
    context: typer.Context,
    benchmarks: Annotated[
        str | None, typer.Option(help="Benchmarks, comma-separated; `--list` names all.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(help="Models, comma-separated: base, finetuned, plain, your own …"),
    ] = None,
    study: Annotated[
        StudyName | None,
        typer.Option(help="A study of the paper: k of the trigger, single tools left out, sizes."),
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
    on: Place = "here",
    force: Force = False,
    preset: Preset = None,
    changes: Changes = None,
) -> None:
    """Measure models by benchmarks, calls disabled and enabled; by default base and finetuned."""
    if context.invoked_subcommand is not None:
        if given := [name for name, value in context.params.items() if value and value != "here"]:
            raise typer.BadParameter(
                f"These options belong to the benchmarks: {', '.join(given)}. Those of "
                f"{context.invoked_subcommand} stand behind it."
            )
        return
    from dagster_project.commands.evaluating import evaluate_models, list_benchmarks, run_study
    from dagster_project.commands.options import RunOptions

    options = RunOptions.of(
        preset,
        changes,
        force=force,
        tools=names_in(tools),
        variant=variant,
        benchmarks=names_in(benchmarks),
        items=limit,
    )
    if list_all:
        list_benchmarks(options, as_json=as_json)
    elif study is None:
        evaluate_models(options, models=names_in(models), on_ray=on == "ray")
    elif models or on == "ray":
        raise typer.BadParameter(
            "--study measures the models of the settings, here. Leave --models and --on out."
        )
    else:
        run_study(options, name=study)


@evaluate_app.command("lm-eval")
def lm_eval(
    tasks: Annotated[
        str, typer.Option(help="Tasks that let the model write, comma-separated.", metavar="X,Y")
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum items of each task.")] = None,
    model: ModelName = None,
    tools: ToolNames = None,
    blocked_tools: Annotated[
        str | None,
        typer.Option(help="Tools that may not be called: QA for question answering.", metavar="X"),
    ] = None,
    no_tools: Annotated[
        bool, typer.Option("--no-tools", help="Run with calls disabled only.")
    ] = False,
    include_path: Annotated[
        Path | None, typer.Option(help="Folder with task files (YAML) of your own.")
    ] = None,
    today: Today = None,
    output: Annotated[
        Path | None, typer.Option(help="File for the results and every answer, as JSON.")
    ] = None,
    preset: Preset = None,
    changes: Changes = None,
) -> None:
    """Run tasks of EleutherAI's lm-evaluation-harness, without and with calls."""
    from dagster_project.commands.harness import compare_on_tasks
    from dagster_project.commands.options import RunOptions

    compare_on_tasks(
        names_in(tasks),
        RunOptions.of(preset, changes, tools=names_in(tools)),
        with_calls=not no_tools,
        include_path=include_path,
        limit=limit,
        model_name=model,
        today=today,
        blocked_tools=names_in(blocked_tools),
        output=output,
    )


@tools_app.command("list")
def tools_list(as_json: AsJson = False) -> None:
    """List the tools: where they come from, their settings, and whether they can run here."""
    from dagster_project.commands.tooling import list_tools

    list_tools(as_json=as_json)


@tools_app.command("try", context_settings={"ignore_unknown_options": True})
def tools_try(
    name: Annotated[str, typer.Argument(help="The tool, as `tools list` shows it.")],
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
    url: Annotated[
        str | None, typer.Option(help="Address of the call's text, as while building.")
    ] = None,
    changes: Changes = None,
) -> None:
    """Make one call and print it with its result, or why there is none."""
    from dagster_project.commands.options import RunOptions
    from dagster_project.commands.tooling import try_tool

    options = RunOptions.of(None, changes)
    if not try_tool(name, arguments, options, today=today, url=url):
        raise typer.Exit(1)


@tools_app.command("check")
def tools_check(
    name: Annotated[str, typer.Argument(help="The tool, as `tools list` shows it.")],
    changes: Changes = None,
) -> None:
    """Try out what a tool promises: prompt, arguments, errors, deadline, batches, settings."""
    from dagster_project.commands.options import RunOptions
    from dagster_project.commands.tooling import check_tool

    if not check_tool(name, RunOptions.of(None, changes)):
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
    """Take a source out of sources.yaml and its shards out of the corpus."""
    from dagster_project.commands.sources import remove_source

    remove_source(source)


@prompts_app.command("compare")
def prompts_compare(
    prompts: Annotated[
        list[str],
        typer.Argument(help="default (the tool's own), short, or files.", metavar="PROMPT…"),
    ],
    tool: Annotated[str, typer.Option(help="The tool, as `tools list` shows it.")],
    texts: Annotated[
        int, typer.Option(min=1, help="Number of windows, from texts that the tool preselects.")
    ] = 50,
    preset: Preset = None,
    changes: Changes = None,
) -> None:
    """Sample and filter calls with each prompt on the same texts; nothing is stored."""
    from dagster_project.commands.options import RunOptions
    from dagster_project.commands.prompting import compare_prompts

    compare_prompts(tool, prompts, RunOptions.of(preset, changes, tools=[tool]), texts=texts)


@cluster_app.command("seed")
def cluster_seed() -> None:
    """Copy the contents of this home into its object store (TOOLFORMER_STORE), still empty."""
    from dagster_project.commands import console
    from dagster_project.home import Home
    from dagster_project.shared_files import seed

    home = Home.find()
    partitions, others = seed(home)
    console.say(
        f"{home.store} has {partitions} partitions and {others} other files and folders of "
        f"{home.root} now. The home is this machine's copy of it from here on."
    )


@cluster_app.command("sweep")
def cluster_sweep() -> None:
    """Remove old contents of the object store, a day after the last use; harmless at any time."""
    from dagster_project.commands import console
    from dagster_project.home import Home
    from dagster_project.shared_files import shared_store
    from warehouse.store.sweep import sweep

    removed, freed = sweep(shared_store(Home.find()))
    console.say(f"Removed {removed} unused objects ({freed / 2**20:.1f} MiB).")
