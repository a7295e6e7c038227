"""`toolformer export`: write C* and its calls as files for other programs."""

import glob
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from dagster_project.commands import console
from dagster_project.commands.dataset_folder import write_dataset_folder
from dagster_project.commands.options import RunOptions
from dagster_project.commands.planning import report_outdated
from toolformer.base.atomic_files import atomic_folder, remove_abandoned, replacing
from toolformer.errors import ExportError
from toolformer.exports import ArgumentsForm, ExportFormat
from toolformer.exports.dataset_card import KEPT_CALLS, TEXTS
from toolformer.exports.records import (
    ChatTool,
    Record,
    Row,
    break_chat_markers,
    chat_record,
    text_record,
    text_tool,
    tool_schema,
    with_chat_markers_broken,
    with_json_strings,
)
from toolformer.home.home import Home
from toolformer.home.lost_shards import log_lost_shards
from toolformer.home.wiring.toolbox import open_tool
from toolformer.home.wiring.workspace import Workspace, open_warehouse
from toolformer.settings.errors import SettingsError
from tools.base import Tool
from tools.errors import CallSyntaxError, ToolError
from warehouse.warehouse import Warehouse

app = typer.Typer()


@app.command()
def export(
    form: Annotated[ExportFormat, typer.Argument(help="Format to write.", metavar="FORMAT")],
    output: Annotated[
        Path, typer.Option(help="File to write (for dataset: a folder). It must not exist yet.")
    ],
    round_number: Annotated[
        int | None, typer.Option("--round", min=1, help="Annotation round. Default: the newest.")
    ] = None,
    arguments: Annotated[
        ArgumentsForm,
        typer.Option(
            help="How sft writes arguments and tools: as objects, or as JSON strings, which "
            "every reader keeps unchanged."
        ),
    ] = "objects",
) -> None:
    """Export the augmented texts and their calls for other programs.

    FORMAT is one of the following. docs/export.md explains how to read each.

    \b
    dataset     a folder for datasets.load_dataset: Parquet and a card that
                describes each column of the texts and of the kept calls
    sft         JSON lines for TRL's SFTTrainer: messages (with tool_calls), tools
    text        JSON lines: texts with inline calls, as in the paper
    """  # noqa: D301 – Click does not rewrap the lines after a backspace.
    if arguments != "objects" and form != "sft":
        raise typer.BadParameter(
            f"The format {form} has no named arguments. Leave the option out, or export sft.",
            param_hint="--arguments",
        )
    home = Home.find()
    target = _free_target(output, home, form)
    log_lost_shards(home)
    # All files of an export come from one snapshot, even if a build publishes meanwhile.
    warehouse = open_warehouse(home).snapshot()
    chosen = _round_with_calls(warehouse, round_number)
    report_outdated(RunOptions(), home, [chosen])
    written = _write_round(form, home, warehouse, target, chosen, arguments)
    console.say(f"Round {chosen}: {written}, in {output}.")


def _free_target(output: Path, home: Home, form: ExportFormat) -> Path:
    """Return the path to write to, after removing temporary files of killed exports."""
    target = output.absolute()
    reserved = (home.root.resolve(), home.machine.resolve())
    if any(target.resolve().is_relative_to(folder) for folder in reserved):
        raise ExportError(
            f"'{target}' is inside the home '{home.root}', where toolformer writes and removes "
            "files. Choose a path outside the home."
        )
    remove_abandoned(target.parent.glob(f"{glob.escape(target.name)}.*.tmp"))
    is_folder = target.is_dir() and not target.is_symlink()
    is_empty_folder = is_folder and not any(target.iterdir())
    if (target.exists() or target.is_symlink()) and not (form == "dataset" and is_empty_folder):
        raise ExportError(f"'{target}' already exists. Choose another path, or remove it first.")
    return target


def _write_round(
    form: ExportFormat,
    home: Home,
    warehouse: Warehouse,
    target: Path,
    round_number: int,
    arguments: ArgumentsForm,
) -> str:
    write_lines = partial(_write_lines, warehouse, target, round_number, arguments)
    if form == "text":
        return f"{write_lines(text_record)} texts"
    work = _workspace_of_round(home, round_number)
    if form == "dataset":
        with atomic_folder(target) as folder:
            rows = write_dataset_folder(folder, warehouse, work, round_number)
        return f"{rows[TEXTS]:,} texts and {rows[KEPT_CALLS]:,} kept calls"
    tools = _chat_tools(warehouse, work, round_number)
    return f"{write_lines(partial(chat_record, tools=tools))} conversations"


def _workspace_of_round(home: Home, round_number: int) -> Workspace:
    """Return the workspace of a round, or the default one if the round is no longer listed."""
    try:
        return RunOptions(overrides={"sampling": {"round": round_number}}).workspace(home)
    except SettingsError:
        return RunOptions().workspace(home)


def _round_with_calls(warehouse: Warehouse, wanted: int | None) -> int:
    rounds = dict(warehouse.ask("exportable_rounds").iter_rows())
    if not rounds:
        raise ExportError(
            "There are no calls yet. Run `toolformer build` first, or set TOOLFORMER_HOME to a "
            "home that was built."
        )
    if wanted is not None and wanted not in rounds:
        raise ExportError(
            f"Round {wanted} has no annotated texts. Expected one of these rounds: "
            f"{', '.join(map(str, rounds))}."
        )
    with_texts = [number for number, texts in rounds.items() if texts]
    chosen = wanted if wanted is not None else max(with_texts, default=max(rounds))
    if not rounds[chosen]:
        raise ExportError(
            f"Round {chosen} has no text with a kept call of a tool that is switched on. "
            "`toolformer stats` shows how many calls a lower threshold "
            "(tools.*.filtering_threshold) would keep. Lower it if needed, then run `toolformer "
            "build`, which merges kept calls into their texts."
        )
    return chosen


def _write_lines(
    warehouse: Warehouse,
    target: Path,
    round_number: int,
    arguments: ArgumentsForm,
    record: Callable[[Row], Record],
) -> str:
    """Write the texts as JSON lines, with a space in each chat mark, and return their number."""
    count = marked = 0
    with (
        replacing(target) as temporary,
        warehouse.stream("exported_texts", round=round_number) as batches,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for batch in batches:
            for row in batch.to_pylist():
                whole = record(row)
                written = with_chat_markers_broken(whole)
                marked += written != whole
                if arguments == "json":
                    written = with_json_strings(written)
                file.write(json.dumps(written, ensure_ascii=False) + "\n")
            count += batch.num_rows
    if marked:
        console.say(
            f"A space was inserted into chat marks such as <|im_end|> in {marked:,} records, so "
            "that readers take them for text."
        )
    return f"{count:,}"


def _chat_tools(warehouse: Warehouse, work: Workspace, round_number: int) -> dict[str, ChatTool]:
    """Return the tools that have calls in the texts of a round, by name."""
    rows = warehouse.ask("exported_tools", round=round_number).to_dicts()
    tools = {row["tool"]: _chat_tool(row, work) for row in rows}
    return {
        name: replace(tool, schema=break_chat_markers(tool.schema)) for name, tool in tools.items()
    }


def _chat_tool(row: Mapping[str, Any], work: Workspace) -> ChatTool:
    name = row["tool"]
    try:
        tool = open_tool(work, name)
        schema, description = tool.argument_schema, tool.description
    except ToolError as error:
        # The tool is no longer registered, or cannot run here.
        console.say(
            f"The tool {name} cannot be opened, so all arguments of a call are exported as one "
            f"text: {error}"
        )
        description = f"The tool {name}."
    else:
        if schema is not None:
            return ChatTool(tool_schema(name, description, schema), partial(_values, tool))
    return text_tool(
        name, description, has_input=row["has_arguments"], needs_input=row["needs_arguments"]
    )


def _values(tool: Tool, arguments: str) -> Mapping[str, object]:
    try:
        return tool.named_arguments(arguments)
    except CallSyntaxError as error:
        raise ExportError(
            f"The call {tool.name}({arguments}) has arguments that the tool no longer accepts: "
            f"{error} Run `toolformer build`, which remakes the calls of a changed tool."
        ) from error
