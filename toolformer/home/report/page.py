"""Renders the report as one HTML file that needs no network."""

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

# Identifies our pages; `page.html.jinja` contains the same tag.
_GENERATOR_TAG = b'<meta name="generator" content="toolformer">'
_HEAD_BYTES = 1_000_000


def check_page(file: Path) -> None:
    """Raise a ToolformerError if the page would replace a link, or a file that is not a page."""
    try:
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode):
            problem = "is not a regular file, so it is not replaced"
        elif status.st_size and not _is_page(file):
            problem = "is a file that toolformer did not write, so it is not replaced"
        else:
            return
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        problem = f"cannot be read: {error}"
    raise ToolformerError(
        f"'{file}' {problem}. Expected a new path or the path of an earlier page. Choose another "
        "path."
    )


def _is_page(file: Path) -> bool:
    with file.open("rb") as stream:
        return _GENERATOR_TAG in stream.read(_HEAD_BYTES)


def write_report(file: Path, store: Warehouse, settings: Settings) -> "Contents":
    """Write the page atomically and return its contents; raise a ToolformerError if it cannot."""
    # Imported here because it loads Dagster and Matplotlib.
    from toolformer.home.report.contents import contents_of

    # One snapshot for the whole report, since a build may publish rows meanwhile.
    with store.skipping_damage().snapshot().with_counts() as counted:
        contents = contents_of(counted, settings)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, page_of(contents), is_durable=False)
    except OSError as error:
        raise ToolformerError(
            f"Cannot write the page to {str(file)!r}: {error}. Expected a path in a writable "
            "folder. Choose another one with --output."
        ) from error
    return contents


def page_of(contents: "Contents") -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("toolformer.home.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Only for our own SVG, style, script and JSON, whose markup is already escaped.
    environment.filters["as_it_is"] = Markup
    return environment.get_template("page.html.jinja").render(
        style=_asset("page.css"),
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        contents=contents,
        script=_asset("page.js"),
    )


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
