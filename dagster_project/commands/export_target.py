"""Where a command writes a file or folder for other programs: checked first, then written whole."""

import glob
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from dagster_project.home import Home
from toolformer.errors import ExportError
from toolformer.ground.whole_files import remove_abandoned
from warehouse.errors import WarehouseError


def checked_target(
    output: Path,
    home: Home,
    *,
    is_forced: bool,
    folder_of: Collection[str] | None = None,
) -> Path:
    """The place to write to, free of what killed exports to it left half written.

    Args:
        output: as the user named it.
        home: that is exported.
        is_forced: replace an earlier export.
        folder_of: names of what an earlier export has in its folder; None for a file.

    Raises:
        ExportError: there is no place for it.
    """
    target = output.expanduser().absolute()
    is_folder = folder_of is not None
    places = (home.root.resolve(), home.machine.resolve())
    if any(target.resolve().is_relative_to(place) for place in places):
        raise ExportError(
            f"'{target}' lies in the home '{home.root}', whose files toolformer makes and removes "
            "itself. Choose a place outside of it."
        )
    remove_abandoned(target.parent.glob(f"{glob.escape(target.name)}.*.tmp"))
    is_empty = is_folder and target.is_dir() and not any(target.iterdir())
    if is_empty or not target.exists():
        return target
    if not is_forced:
        raise ExportError(
            f"'{target}' is there already. Choose another place, or replace it with --force."
        )
    if target.is_dir() != is_folder:
        there, wanted = ("a file", "a folder") if is_folder else ("a folder", "a file")
        raise ExportError(
            f"'{target}' is {there}, and this format is {wanted}. Choose another place."
        )
    others = {path.name for path in target.iterdir()} - set(folder_of or ()) if is_folder else set()
    if others:
        raise ExportError(
            f"'{target}' holds what no export has, such as {min(others)!r}; --force replaces "
            "earlier exports only. Choose another place."
        )
    return target


@contextmanager
def refusals_told(output: Path) -> Iterator[None]:
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
