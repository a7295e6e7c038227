"""Where an export may be written: to a new place, or in place of an earlier export."""

import glob
import json
import re
import stat
from functools import partial
from pathlib import Path

from dagster_project.commands.export_formats import ExportFormat
from toolformer.errors import ExportError
from toolformer.exports.dataset_card import CARD_FILE, CARD_MARK, is_data_file
from toolformer.exports.records import IDS
from toolformer.files.replaceable import head_of, kind_of, why_not_replaced
from toolformer.files.whole_files import remove_abandoned
from toolformer.home.home import Home
from warehouse.standalone import is_standalone_database

# How every line of an export begins.
_RECORD = re.compile(
    r"\{" + ", ".join(rf'{json.dumps(name)}: (?:"(?:[^"\\]|\\.)*"|\d+)' for name in IDS) + ", "
)


def checked_target(output: Path, home: Home, form: ExportFormat, *, is_forced: bool) -> Path:
    """The place to write to, free of what killed exports to it left half written.

    Args:
        is_forced: replace an earlier export.

    Raises:
        ExportError: there is no place for it.
    """
    target = output.absolute()
    places = (home.root.resolve(), home.machine.resolve())
    if any(target.resolve().is_relative_to(folder) for folder in places):
        raise ExportError(
            f"'{target}' lies in the home '{home.root}', whose files toolformer itself writes and "
            "removes. Choose a folder outside of it."
        )
    remove_abandoned(target.parent.glob(f"{glob.escape(target.name)}.*.tmp"))
    try:
        mode = target.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return target
    is_empty_folder = stat.S_ISDIR(mode) and not any(target.iterdir())
    if form == "dataset" and is_empty_folder:
        return target
    if not is_forced:
        raise ExportError(
            f"'{target}' is there already. Choose another path, or replace an earlier export with "
            "--force."
        )
    wanted = stat.S_IFDIR if form == "dataset" else stat.S_IFREG
    if stat.S_IFMT(mode) != wanted:
        raise ExportError(
            f"'{target}' is {kind_of(mode)}, and this format is {kind_of(wanted)}. Choose another "
            "path."
        )
    if form == "dataset":
        _check_folder(target)
        return target
    if problem := why_not_replaced(target, "export", partial(_is_export, form)):
        raise ExportError(problem)
    return target


def _is_export(form: ExportFormat, file: Path) -> bool:
    if form == "duckdb":
        return is_standalone_database(file)
    return _RECORD.match(head_of(file).decode("utf-8", errors="replace")) is not None


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier export."""
    card = folder / CARD_FILE
    others = [
        name
        for path in sorted(folder.rglob("*"))
        for name in (path.relative_to(folder).as_posix(),)
        if path.is_symlink() or not (path.is_dir() or name == CARD_FILE or is_data_file(name))
    ]
    if others:
        raise ExportError(
            f"'{folder}' holds what no export has, such as {others[0]!r}; --force replaces "
            "earlier exports only. Choose another path."
        )
    if not card.is_file() or CARD_MARK not in head_of(card).decode("utf-8", errors="replace"):
        raise ExportError(
            f"'{folder}' is no earlier export: it has no {CARD_FILE} that says {CARD_MARK!r}. "
            "--force replaces earlier exports only. Choose another path."
        )
