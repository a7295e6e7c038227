"""The report as one HTML file that needs no network."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.errors import ToolformerError
from toolformer.files.replaceable import head_of, why_not_replaced
from toolformer.files.whole_files import write_whole
from toolformer.home.settings.sections import Settings
from warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from toolformer.home.report.contents import Contents

# As in `frame.html.jinja`.
_MARK = b'<meta name="generator" content="toolformer">'


def check_page(file: Path) -> None:
    """Refuse to write a page where something is that is no earlier one.

    Raises:
        ToolformerError: it would be lost.
    """
    if problem := why_not_replaced(file, "page", lambda page: _MARK in head_of(page)):
        raise ToolformerError(problem)


def write_report(file: Path, store: Warehouse, settings: Settings) -> "Contents":
    """Write the report of a home, whole or not at all; what it shows.

    Raises:
        ToolformerError: the file cannot be written.
    """
    # Loads Dagster and what draws figures.
    from toolformer.home.report.contents import contents_of

    contents = contents_of(store, settings)
    write_page(file, page_of(contents))
    return contents


def write_page(file: Path, page: str) -> None:
    """Write a page, whole or not at all.

    Raises:
        ToolformerError: the file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, page, is_durable=False)
    except OSError as error:
        raise ToolformerError(
            f"Cannot write the page to {str(file)!r}: {error}. Expected a file in a folder that "
            "may be written; name another one with --output."
        ) from error


def page_of(contents: "Contents") -> str:
    """The page, with everything that it needs inside."""
    return rendered("page.html.jinja", contents=contents, script=_part("page.js"))


def rendered(template: str, **values: object) -> str:
    """A page of this folder's templates, with the look of the report inside."""
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
    return environment.get_template(template).render(
        style=_part("page.css"),
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **values,
    )


def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
