"""`toolformer export`: C* and its calls as files that other programs read."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dagster_project.commands import console
from dagster_project.commands.dataset_folder import write_dataset_folder
from dagster_project.commands.export_formats import ArgumentsForm, ExportFormat
from dagster_project.commands.export_targets import checked_target
from dagster_project.commands.export_tools import chat_tools
from dagster_project.commands.options import RunOptions
from toolformer.errors import ExportError
from toolformer.exports.dataset_card import KEPT_CALLS, TEXTS
from toolformer.exports.records import (
    Record,
    Row,
    chat_record,
    pair_record,
    text_record,
    with_json_texts,
    without_marks,
)
from toolformer.files.whole_files import replacing, replacing_folder
from toolformer.home.home import Home
from toolformer.home.settings.errors import SettingsError
from toolformer.home.settings.sections import Settings
from toolformer.home.wiring.warehouse import open_warehouse
from warehouse.errors import WarehouseError
from warehouse.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class _Lines:
    """How records become lines: see `write_export`."""

    arguments: ArgumentsForm
    keeps_marks: bool

    def line(self, record: Record) -> tuple[str, bool]:
        """A record as JSON, and whether a text of it holds a mark of a chat template."""
        broken = without_marks(record)
        shown = record if self.keeps_marks else broken
        if self.arguments == "json":
            shown = with_json_texts(shown)
        return json.dumps(shown, ensure_ascii=False) + "\n", broken != record

    def told(self, marked: int) -> str:
        """What is said of texts with marks; nothing where there are none."""
        if not marked:
            return ""
        done = "kept" if self.keeps_marks else "broken by a blank (--keep-marks keeps them)"
        return f" In {marked:,} of them marks such as <|im_end|> were {done}."


def write_export(
    form: ExportFormat,
    home: Home,
    output: Path,
    *,
    round_number: int | None,
    is_forced: bool,
    arguments: ArgumentsForm = "objects",
    keeps_marks: bool = False,
    place: str | None = None,
) -> None:
    """Write an export, whole or not at all, and say what is in it.

    Args:
        output: the file; of a dataset the folder.
        round_number: number of the round of annotation; by default the newest with kept calls, in a
            database all.
        is_forced: replace an earlier export.
        arguments: of chats and pairs: arguments and schemas of tools as objects or as JSON texts.
        keeps_marks: of chats, pairs and texts: leave what a chat template or a tokenizer would
            take for the edge of a turn as it is.
        place: what is said of where it is; by default `output`.

    Raises:
        ExportError: there is nothing to export, or no place for it.
    """
    with _explained_refusals(output):
        target = checked_target(output, home, form, is_forced=is_forced)
    warehouse = open_warehouse(home)
    with _explained_refusals(output):
        if form == "duckdb":
            number = "All rounds" if round_number is None else f"Round {round_number}"
            written, told = _write_database(warehouse, target, round_number), ""
        else:
            chosen = _round_with_calls(warehouse, round_number)
            number = f"Round {chosen}"
            lines = _Lines(arguments, keeps_marks)
            written, told = _write_round(form, home, warehouse, target, chosen, lines)
    console.say(f"{number}: {written}, in {place or output}.{told}")


def _write_round(
    form: ExportFormat,
    home: Home,
    warehouse: Warehouse,
    target: Path,
    round_number: int,
    lines: _Lines,
) -> tuple[str, str]:
    """Write a format that has one round; what was written, and what is said of marks in it."""
    write_lines = partial(_write_lines, warehouse, target, round_number, lines)
    if form == "text":
        count, marked = write_lines("exported_texts", text_record)
        return f"{count:,} texts", lines.told(marked)
    settings = _settings_of_round(home, round_number)
    if form == "dataset":
        with replacing_folder(target) as folder:
            written = write_dataset_folder(folder, warehouse, settings, round_number=round_number)
        shown = f"{written.rows[TEXTS]:,} texts and {written.rows[KEPT_CALLS]:,} kept calls"
        # The offsets of calls count the characters of the text as it is.
        return shown, _Lines(lines.arguments, keeps_marks=True).told(written.marked)
    tools = chat_tools(warehouse, settings, home, round_number, keeps_marks=lines.keeps_marks)
    if form == "sft":
        count, marked = write_lines("exported_texts", partial(chat_record, tools=tools))
        return f"{count:,} conversations", lines.told(marked)
    count, marked = write_lines("exported_pairs", partial(pair_record, tools=tools))
    return f"{count:,} pairs of a kept and a dropped call", lines.told(marked)


def _settings_of_round(home: Home, round_number: int) -> Settings:
    """The settings of the round; the plain ones where toolformer.yaml no longer has the round."""
    try:
        return RunOptions(overrides={"sampling": {"round": round_number}}).load_settings(home)
    except SettingsError:
        return RunOptions().load_settings(home)


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
    rounds = dict(warehouse.ask("exportable_rounds").iter_rows())
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
    with_texts = [number for number, texts in rounds.items() if texts]
    chosen = wanted if wanted is not None else max(with_texts, default=max(rounds))
    if not rounds[chosen]:
        raise ExportError(
            f"Round {chosen} has no text with a kept call of a tool that is switched on. "
            "`toolformer stats` shows what lower thresholds would keep "
            "(tools.*.filtering_threshold); then run `toolformer build`, which also merges kept "
            "calls into their texts."
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
    lines: _Lines,
    query: str,
    record: Callable[[Row], Record],
) -> tuple[int, int]:
    """Write JSON lines; how many, and how many of them hold marks.

    Raises:
        ExportError: there are none.
    """
    count = marked = 0
    with (
        replacing(target) as temporary,
        warehouse.stream(query, round=round_number) as batches,
    ):
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for batch in batches:
                for row in batch.to_pylist():
                    line, is_marked = lines.line(record(row))
                    file.write(line)
                    marked += is_marked
                count += batch.num_rows
        if not count:
            raise ExportError(
                f"In round {round_number} no position has both a kept and a dropped call of one "
                "tool. Pairs need several samples per position: raise tools.*.calls_per_position "
                "(m in the paper) and run `toolformer build`."
            )
    return count, marked
