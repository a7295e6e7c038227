"""The layout that a warehouse was written with; a warehouse of another layout is refused."""

from pathlib import Path

from toolformer.ground.whole_files import write_whole
from warehouse.errors import LayoutError
from warehouse.layout import EMPTY_SHARD

LAYOUT_VERSION = 1
"""Raised when stored slices cannot be read, or counted, like those that are written now."""

LAYOUT_FILE = "layout-version"
"""Name of the file in the folder of the warehouse that has the version."""


def check_layout(folder: Path) -> None:
    """Refuses a warehouse of another layout; one without slices may have none yet.

    Args:
        folder: Folder of the warehouse.

    Raises:
        LayoutError: It has another version, or slices and no version.
    """
    file = folder / LAYOUT_FILE
    version = file.read_text(errors="replace").strip() if file.exists() else "none"
    if version == str(LAYOUT_VERSION) or (version == "none" and not _has_slices(folder)):
        return
    raise layout_error(folder, version)


def layout_error(place: Path | str, version: str) -> LayoutError:
    """Returns the error for slices of another layout.

    Args:
        place: Folder of the warehouse, or the URL of the store.
        version: Of its layout.
    """
    return LayoutError(
        f"The warehouse '{place}' has layout version {version}, expected {LAYOUT_VERSION}: its "
        "slices cannot be read by this version of toolformer. Begin anew: copy toolformer.yaml "
        "into an empty folder, then run `TOOLFORMER_HOME=FOLDER toolformer build` (with an object "
        "store, set TOOLFORMER_STORE to an empty prefix too)."
    )


def record_layout(folder: Path) -> None:
    """Writes the version into a warehouse that has none yet.

    Raises: See `check_layout`.
    """
    check_layout(folder)
    file = folder / LAYOUT_FILE
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, f"{LAYOUT_VERSION}\n")


def _has_slices(folder: Path) -> bool:
    files = folder.glob("*/shard=*/*.parquet")
    return any(file.parent.name != f"shard={EMPTY_SHARD}" for file in files)
