"""`toolformer export`: C* and its calls as files that other programs read."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from dagster_project.commands import console
from dagster_project.commands.dataset_folder import write_dataset_folder
from dagster_project.commands.export_formats import ExportFormat
from dagster_project.commands.export_target import checked_target, refusals_told
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
from toolformer.ground.whole_files import replacing, replacing_folder
from tools.errors import ToolError
from warehouse.warehouse import Warehouse

_OF_EXPORT = {CARD_FILE, "data"}


@dataclass(frozen=True)
class _Source:
    """A round of annotation of a home.

    Attributes:
        home, warehouse: where it is.
        round: its number.
    """

    home: Home
    warehouse: Warehouse
    round: int

    @cached_property
    def settings(self) -> Settings:
        """Of the round; the plain ones where toolformer.yaml has no such round any more."""
        of_round = RunOptions(overrides={"sampling": {"round": self.round}})
        try:
            return of_round.load_settings(self.home)
        except SettingsError:
            return RunOptions().load_settings(self.home)

    def tool_schemas(self) -> list[dict[str, Any]]:
        """The tools with kept calls, as the home describes them."""
        return [
            tool_schema(
                row["tool"],
                self._description(row["tool"]),
                has_input=row["has_arguments"],
                needs_input=row["needs_arguments"],
            )
            for row in self.warehouse.ask("exported_tools", round=self.round).to_dicts()
        ]

    def _description(self, tool: str) -> str:
        try:
            return open_tool(self.settings, self.home, tool).description
        except ToolError:
            # Its calls are there, and the tool is not registered any more.
            return f"The tool {tool}."


def write_export(
    form: ExportFormat, output: Path, *, round_number: int | None, is_forced: bool
) -> None:
    """Write an export, whole or not at all, and say what is in it.

    Args:
        form: what to write.
        output: the file; of a dataset the folder.
        round_number: of annotation; by default the newest with kept calls, in a database all.
        is_forced: replace an earlier export.

    Raises:
        ExportError: there is nothing to export, or no place for it.
    """
    home = Home.find()
    of_folder = _OF_EXPORT if form == "dataset" else None
    target = checked_target(output, home, is_forced=is_forced, folder_of=of_folder)
    warehouse = open_warehouse(home)
    with refusals_told(output):
        if form == "duckdb":
            told = _write_database(warehouse, target, round_number)
        else:
            source = _Source(home, warehouse, _round_with_calls(warehouse, round_number))
            told = f"Round {source.round}: {_WRITERS[form](source, target)}"
    console.say(f"{told}, in {output}.")


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
    of_round = "All rounds" if round_number is None else f"Round {round_number}"
    return f"{of_round}: {len(rows)} tables with {sum(rows.values()):,} rows"


def _write_dataset(source: _Source, target: Path) -> str:
    with replacing_folder(target) as folder:
        rows = write_dataset_folder(
            folder, source.warehouse, source.settings, round_number=source.round
        )
    return f"{rows[TEXTS]:,} texts and {rows[KEPT_CALLS]:,} kept calls"


def _write_texts(source: _Source, target: Path) -> str:
    return f"{_write_lines(source, target, 'exported_texts', text_record):,} texts"


def _write_chats(source: _Source, target: Path) -> str:
    record = partial(chat_record, tools=source.tool_schemas())
    return f"{_write_lines(source, target, 'exported_texts', record):,} conversations"


def _write_pairs(source: _Source, target: Path) -> str:
    record = partial(pair_record, tools=source.tool_schemas())
    count = _write_lines(source, target, "exported_pairs", record)
    return f"{count:,} pairs of a kept and a dropped call"


def _write_lines(source: _Source, target: Path, query: str, record: Callable[[Row], Record]) -> int:
    """Write JSON lines; how many.

    Raises:
        ExportError: there are none.
    """
    count = 0
    with (
        replacing(target) as temporary,
        source.warehouse.stream(query, round=source.round) as batches,
    ):
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for batch in batches:
                for row in batch.to_pylist():
                    file.write(json.dumps(record(row), ensure_ascii=False) + "\n")
                count += batch.num_rows
        if not count:
            raise ExportError(
                f"In round {source.round} no position has both a kept and a dropped call of one "
                "tool. Pairs need several samples per position: raise tools.*.calls_per_position "
                "(m in the paper) and run `toolformer build`."
            )
    return count


_WRITERS: dict[ExportFormat, Callable[[_Source, Path], str]] = {
    "dataset": _write_dataset,
    "sft": _write_chats,
    "preference": _write_pairs,
    "text": _write_texts,
}
