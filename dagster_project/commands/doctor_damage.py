"""Compares the files of a home with what was written, and puts damaged ones aside.

Deletes nothing: what is put aside lies below `damaged` in the home.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_project.commands.findings import BREAKAGE, Finding, guarded, named
from dagster_project.home import Home
from dagster_project.settings.sections import BASE, FINETUNED, Settings
from dagster_project.wiring.model_damage import digests_file, is_made_here
from toolformer.errors import ToolformerError
from toolformer.ground.kept_digests import DIGESTS_FILE, damaged_files, described, keep_digests
from warehouse.errors import SliceNotFoundError, WarehouseError

if TYPE_CHECKING:
    from warehouse.warehouse import Warehouse

# Every row of a slice is read to find damage; more than this would take more than a second.
_MOST_BYTES_READ = 128 * 2**20
_REPAIR = "Run `toolformer doctor --repair`"
_REPAIR_FULLY = "Run `toolformer doctor --full --repair`"


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder whose files have digests.

    Attributes:
        name: what it is.
        path: where it lies.
        digests: where its digests are kept.
        again: how it is made again; None for a user's own, which is never moved.
    """

    name: str
    path: Path
    digests: Path
    again: str | None

    def damage(self, *, is_full: bool) -> dict[str, str] | None:
        """As `damaged_files` tells it; by names and sizes alone, or by every byte."""
        return damaged_files(self.path, self.digests, most_bytes=None if is_full else 0)

    def file(self, name: str) -> Path:
        return self.digests if name == self.digests.name else self.path / name


def examine_files(home: Home, settings: Settings, *, is_full: bool) -> Iterator[Finding]:
    """Look for damaged files; what cannot be read is a finding too.

    Args:
        home: the home.
        settings: they name models outside the home.
        is_full: read everything to its end; else compare names and sizes, and read slices up to
            128 MiB.
    """
    for folder in _folders(home, settings):
        look = partial(_compare, folder, is_full)
        yield from guarded(f"files of {folder.name}", look)
    yield from guarded("slices", lambda: _warehouse(home, is_full))


def repair_files(home: Home, settings: Settings, *, is_full: bool) -> Iterator[str]:
    """Put aside what `examine_files` finds damaged and what can be made again.

    A full repair also keeps digests of what has none. Not to be done while a build is running.

    Args:
        home: the home.
        settings: as for `examine_files`.
        is_full: as for `examine_files`.

    Yields:
        One sentence for each thing that was done, or that was refused.
    """
    # First: `Warehouse.prepare` stops at a damaged slice.
    yield from _told("the slices", partial(_repair_slices, home))
    yield from _told("indexes and models", partial(_repair_folders, home, settings, is_full))


def _told(what: str, repair: Callable[[], Iterator[str]]) -> Iterator[str]:
    try:
        yield from repair()
    except (ToolformerError, WarehouseError, *BREAKAGE) as error:
        yield f"Could not repair {what}: {error}"


def _folders(home: Home, settings: Settings) -> Iterator[_Folder]:
    from toolformer.forward.embedded_model import embedded_model_directory
    from tools.retrieval.index_folder import INFORMATION_FILE

    indexes = {"the Wikipedia index": home.wikipedia_index, "the passage index": home.passage_index}
    for name, path in indexes.items():
        if (path / INFORMATION_FILE).exists() or (path / DIGESTS_FILE).exists():
            yield _Folder(name, path, path / DIGESTS_FILE, "the next build makes it again")
    models = {
        file.parent
        for folder in (home.models, home.converted_models)
        for pattern in ("*.safetensors", DIGESTS_FILE)
        for file in folder.glob(f"[!.]*/{pattern}")
    }
    for given in {settings.language_model.path, settings.sampling.annotator}:
        directory = Path(given)
        if given not in ("embedded", BASE, FINETUNED) and directory.is_dir():
            models.add(directory)
    for path in sorted(models):
        if not is_made_here(path, home):
            again = None
        elif path == embedded_model_directory(home.converted_models):
            again = "it is converted again at first use"
        else:
            again = "`toolformer train` makes it again"
        yield _Folder(f"the model {path}", path, digests_file(path, home), again)


def _compare(folder: _Folder, is_full: bool) -> Iterator[Finding]:
    name = f"files of {folder.name}"
    damaged = folder.damage(is_full=is_full)
    if damaged:
        remedy = (
            f"{_REPAIR_FULLY if is_full else _REPAIR}: it puts the folder aside, and {folder.again}"
            if folder.again
            else "Restore these files from where the model came from; if you replaced them on "
            f"purpose, delete {folder.digests}"
        )
        files = tuple(str(folder.file(each)) for each in damaged)
        yield Finding(name, "warning", f"damaged: {described(damaged)}", remedy, files)
    elif damaged is None and is_full:
        detail = "no digests were kept; `toolformer doctor --full --repair` keeps them from now on"
        yield Finding(name, "ok", detail)
    elif is_full:
        yield Finding(name, "ok", "as they were written")


def _repair_folders(home: Home, settings: Settings, is_full: bool) -> Iterator[str]:
    for folder in _folders(home, settings):
        yield from _told(folder.name, partial(_repair_folder, folder, home, is_full))


def _repair_folder(folder: _Folder, home: Home, is_full: bool) -> Iterator[str]:
    damaged = folder.damage(is_full=is_full)
    if damaged and folder.digests.name in damaged:
        # The folder itself may well be sound.
        yield f"Put aside {folder.digests} as {_put_aside(folder.digests, home)}."
        damaged = None
    if damaged and folder.again:
        yield f"Put aside {folder.path} as {_put_aside(folder.path, home)}; {folder.again}."
    elif damaged is None and is_full:
        count = keep_digests(folder.path, folder.digests)
        yield f"Kept the digests of {count} files of {folder.name}, as they are now."


def _warehouse(home: Home, is_full: bool) -> Iterator[Finding]:
    from warehouse.warehouse import Warehouse

    warehouse = Warehouse(home.warehouse, home.database)
    yield from _slices(warehouse, home, is_full)
    yield from _database(warehouse)


def _slices(warehouse: "Warehouse", home: Home, is_full: bool) -> Iterator[Finding]:
    from warehouse.schema import tables

    listed = {table: warehouse.slices(table) for table in tables()}
    sizes = {table: sum(info.bytes for info in slices) for table, slices in listed.items()}
    read, looked_at = 0, []
    for table in sorted(sizes, key=sizes.__getitem__):
        read += sizes[table]
        if read > _MOST_BYTES_READ and not is_full:
            break
        looked_at.append(table)
    damaged = warehouse.damaged_slices(looked_at)
    count = sum(map(len, listed.values()))
    left_out = sorted(set(listed) - set(looked_at))
    note = f"; not looked at, for their size: {', '.join(left_out)}" if left_out else ""
    if damaged:
        detail = f"{len(damaged)} damaged: {_names(damaged, home)}{note}"
        remedy = f"{_REPAIR}: it puts them aside, and the next build makes them again"
        yield Finding("slices", "warning", detail, remedy, tuple(map(str, damaged)))
    elif count:
        yield Finding(
            "slices", "ok", f"no damage in {count:,} slice{'s' if count > 1 else ''}{note}"
        )
    else:
        yield Finding("slices", "ok", "no slices yet")


def _names(slices: list[Path], home: Home) -> str:
    return named([str(path.relative_to(home.warehouse.absolute())) for path in slices])


def _database(warehouse: "Warehouse") -> Iterator[Finding]:
    if warehouse.has_foreign_database:
        file = warehouse.database_file
        detail = f"the views in {file} are of another home, or of another version"
        remedy = f"{_REPAIR}, or any command that reads the warehouse: it is written anew"
        yield Finding("database", "warning", detail, remedy)


def _repair_slices(home: Home) -> Iterator[str]:
    from warehouse.warehouse import Warehouse

    warehouse = Warehouse(home.warehouse, home.database)
    for path in warehouse.damaged_slices():
        try:
            target = warehouse.set_aside(path)
        except SliceNotFoundError:
            # A running build has replaced or removed it meanwhile.
            continue
        yield (
            f"Put aside {path.relative_to(warehouse.folder)} as {target}; the next build makes it "
            "again."
        )
    if warehouse.has_foreign_database:
        warehouse.prepare()
        yield f"Wrote {home.database} anew."


def _put_aside(path: Path, home: Home) -> Path:
    """Move a file or folder below the folder `damaged` of the home, or of its cache; say where."""
    place = home.machine if path.is_relative_to(home.machine) else home.root
    first = target = place / "damaged" / path.relative_to(place)
    number = 1
    while target.exists():
        number += 1
        target = first.with_name(f"{first.name}-{number}")
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    return target
