"""The report as one HTML file that needs no network."""

import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.base.atomic_files import write_atomically
from toolformer.errors import ToolformerError
from toolformer.settings.sections import Settings
from warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from toolformer.home.report.contents import Contents

# As in `page.html.jinja`.
_MARK = b'<meta name="generator" content="toolformer">'
_HEAD_BYTES = 1_000_000


def check_page(file: Path) -> None:
    """Refuse to write a page where something is that is no earlier one.

    A link counts as such: a file that takes its place would not be what it points to.

    Raises:
        ToolformerError: it would be lost.
    """
    try:
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode):
            problem = "is no file, and the page would take its place"
        elif status.st_size and not _is_page(file):
            problem = "is a file, and no page that toolformer wrote, so it is not replaced"
        else:
            return
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        problem = f"cannot be looked at: {error}"
    raise ToolformerError(
        f"'{file}' {problem}. Expected a path where nothing is, or an earlier page. Choose another "
        "path."
    )


def _is_page(file: Path) -> bool:
    with file.open("rb") as stream:
        return _MARK in stream.read(_HEAD_BYTES)


def write_report(file: Path, store: Warehouse, settings: Settings) -> "Contents":
    """Write the report of a home, whole or not at all; what it shows.

    Raises:
        ToolformerError: the file cannot be written.
    """
    # Loads Dagster and what draws figures.
    from toolformer.home.report.contents import contents_of

    # All figures of a report are of one moment, whatever a build publishes meanwhile.
    with store.skipping_damage().snapshot().with_counts() as counted:
        contents = contents_of(counted, settings)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, page_of(contents), is_durable=False)
    except OSError as error:
        raise ToolformerError(
            f"Cannot write the page to {str(file)!r}: {error}. Expected a file in a folder that "
            "may be written; name another one with --output."
        ) from error
    return contents


def page_of(contents: "Contents") -> str:
    """The page, with everything that it needs inside."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("toolformer.home.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # What stands in the page as it is: drawings and JSON of ours, in which markup is escaped.
    environment.filters["as_it_is"] = Markup
    return environment.get_template("page.html.jinja").render(
        style=_part("page.css"),
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        contents=contents,
        script=_part("page.js"),
    )


def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
