"""`toolformer export`: C* and its calls as files that other programs read."""

import glob
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from dagster_project.commands import console
from dagster_project.commands.dataset_folder import write_dataset_folder
from dagster_project.commands.export_formats import ExportFormat
from dagster_project.commands.options import RunOptions
from dagster_project.home import Home
from dagster_project.settings.errors import SettingsError
from dagster_project.settings.sections import Settings
from dagster_project.wiring.toolbox import open_tool
from dagster_project.wiring.warehouse import open_warehouse
from toolformer.errors import ExportError
from toolformer.exports.dataset_card import CARD_FILE, KEPT_CALLS, TEXTS
from toolformer.exports.records import (
    Record,
    Row,
    chat_record,
    pair_record,
    text_record,
    tool_schema,
)
from toolformer.files.whole_files import remove_abandoned, replacing, replacing_folder
from tools.errors import ToolError
from warehouse.errors import WarehouseError
from warehouse.warehouse import Warehouse

_OF_EXPORT = {CARD_FILE, "data"}


def write_export(
    form: ExportFormat, home: Home, output: Path, *, round_number: int | None, is_forced: bool
) -> None:
    """Write an export, whole or not at all, and say what is in it.

    Args:
        output: the file; of a dataset the folder.
        round_number: number of the round of annotation; by default the newest with kept calls, in a
            database all.
        is_forced: replace an earlier export.

    Raises:
        ExportError: there is nothing to export, or no place for it.
    """
    folder_of = _OF_EXPORT if form == "dataset" else None
    target = _checked_target(output, home, is_forced=is_forced, folder_of=folder_of)
    warehouse = open_warehouse(home)
    with _explained_refusals(output):
        if form == "duckdb":
            number = "All rounds" if round_number is None else f"Round {round_number}"
            written = _write_database(warehouse, target, round_number)
        else:
            chosen = _round_with_calls(warehouse, round_number)
            number = f"Round {chosen}"
            written = _write_round(form, home, warehouse, target, chosen)
    console.say(f"{number}: {written}, in {output}.")


def _write_round(
    form: ExportFormat, home: Home, warehouse: Warehouse, target: Path, round_number: int
) -> str:
    """Write a format that has one round; what was written."""
    write_lines = partial(_write_lines, warehouse, target, round_number)
    if form == "text":
        return f"{write_lines('exported_texts', text_record):,} texts"
    settings = _settings_of_round(home, round_number)
    if form == "dataset":
        with replacing_folder(target) as folder:
            rows = write_dataset_folder(folder, warehouse, settings, round_number=round_number)
        return f"{rows[TEXTS]:,} texts and {rows[KEPT_CALLS]:,} kept calls"
    tools = [
        tool_schema(
            row["tool"],
            _description(row["tool"], settings, home),
            has_input=row["has_arguments"],
            needs_input=row["needs_arguments"],
        )
        for row in warehouse.ask("exported_tools", round=round_number).to_dicts()
    ]
    if form == "sft":
        count = write_lines("exported_texts", partial(chat_record, tools=tools))
        return f"{count:,} conversations"
    count = write_lines("exported_pairs", partial(pair_record, tools=tools))
    return f"{count:,} pairs of a kept and a dropped call"


def _settings_of_round(home: Home, round_number: int) -> Settings:
    """The settings of the round; the plain ones where toolformer.yaml no longer has the round."""
    try:
        return RunOptions(overrides={"sampling": {"round": round_number}}).load_settings(home)
    except SettingsError:
        return RunOptions().load_settings(home)


def _description(tool: str, settings: Settings, home: Home) -> str:
    try:
        return open_tool(settings, home, tool).description
    except ToolError:
        # Its calls are there, and the tool is not registered any more.
        return f"The tool {tool}."


def _checked_target(
    output: Path,
    home: Home,
    *,
    is_forced: bool,
    folder_of: Collection[str] | None = None,
) -> Path:
    """The place to write to, free of what killed exports to it left half written.

    Args:
        is_forced: replace an earlier export.
        folder_of: names of what an earlier export has in its folder; None for a file.

    Raises:
        ExportError: there is no place for it.
    """
    target = output.expanduser().absolute()
    is_folder = folder_of is not None
    places = (home.root.resolve(), home.machine.resolve())
    if any(target.resolve().is_relative_to(folder) for folder in places):
        raise ExportError(
            f"'{target}' lies in the home '{home.root}', whose files toolformer itself writes and "
            "removes. Choose a folder outside of it."
        )
    remove_abandoned(target.parent.glob(f"{glob.escape(target.name)}.*.tmp"))
    is_empty = is_folder and target.is_dir() and not any(target.iterdir())
    if is_empty or not target.exists():
        return target
    if not is_forced:
        raise ExportError(
            f"'{target}' is there already. Choose another path, or replace it with --force."
        )
    if target.is_dir() != is_folder:
        there, wanted = ("a file", "a folder") if is_folder else ("a folder", "a file")
        raise ExportError(
            f"'{target}' is {there}, and this format is {wanted}. Choose another path."
        )
    others = {path.name for path in target.iterdir()} - set(folder_of or ()) if is_folder else set()
    if others:
        raise ExportError(
            f"'{target}' holds what no export has, such as {min(others)!r}; --force replaces "
            "earlier exports only. Choose another path."
        )
    return target


@contextmanager
def _explained_refusals(output: Path) -> Iterator[None]:
    """Tell what the disk refuses while `output` is written.

    Raises:
        ExportError: it refused.
    """
    try:
        yield
    except WarehouseError:
        raise
    except OSError as error:
        raise ExportError(
            f"Cannot write '{output}': {error}. Nothing is left of it. Check the free space and "
            "the permissions of its folder, or choose another place, and run the same again."
        ) from error


def _round_with_calls(warehouse: Warehouse, wanted: int | None) -> int:
    rounds = {row["round"]: row for row in warehouse.ask("exportable_rounds").iter_rows(named=True)}
    if not rounds:
        raise ExportError(
            "There are no calls yet. Run `toolformer build` first, or set TOOLFORMER_HOME to a "
            "home that was built."
        )
    if wanted is not None and wanted not in rounds:
        raise ExportError(
            f"Nothing was annotated in round {wanted}. Expected one of "
            f"{', '.join(map(str, rounds))}."
        )
    with_texts = [number for number, row in rounds.items() if row["texts"]]
    chosen = wanted if wanted is not None else max(with_texts, default=max(rounds))
    if not rounds[chosen]["texts"]:
        raise ExportError(
            f"Round {chosen} has no text with a kept call: {rounds[chosen]['kept_calls']} of "
            f"{rounds[chosen]['scored_calls']} scored calls were kept. `toolformer stats` shows "
            "what lower thresholds would keep (tools.*.filtering_threshold); then run "
            "`toolformer build`, which also merges kept calls into their texts."
        )
    return chosen


def _write_database(warehouse: Warehouse, target: Path, round_number: int | None) -> str:
    with replacing(target) as temporary:
        rows = warehouse.write_standalone(temporary, round_number=round_number)
        if not rows["documents"]:
            raise ExportError(
                "There are no documents yet. Run `toolformer build` first, or set TOOLFORMER_HOME "
                "to a home that was built."
            )
    return f"{len(rows)} tables with {sum(rows.values()):,} rows"


def _write_lines(
    warehouse: Warehouse,
    target: Path,
    round_number: int,
    query: str,
    record: Callable[[Row], Record],
) -> int:
    """Write JSON lines; how many.

    Raises:
        ExportError: there are none.
    """
    count = 0
    with (
        replacing(target) as temporary,
        warehouse.stream(query, round=round_number) as batches,
    ):
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for batch in batches:
                for row in batch.to_pylist():
                    file.write(json.dumps(record(row), ensure_ascii=False) + "\n")
                count += batch.num_rows
        if not count:
            raise ExportError(
                f"In round {round_number} no position has both a kept and a dropped call of one "
                "tool. Pairs need several samples per position: raise tools.*.calls_per_position "
                "(m in the paper) and run `toolformer build`."
            )
    return count
