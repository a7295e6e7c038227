"""A source of texts: its path, its format, and the names of its columns."""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass

from toolformer.settings.corpus_sections import (
    BUILT_IN_SOURCES,
    DATE_COLUMN,
    TEXT_COLUMN,
    TITLE_COLUMN,
    URL_COLUMN,
    GivenFormat,
    normalised_path,
)
from toolformer.sources.errors import SourceError

MAXIMUM_TEXT_BYTES = 5_000_000


@dataclass(frozen=True, slots=True)
class Source:
    """Source that the user names; `SourceSettings` describes its fields and validates numbers.

    Attributes:
        url_column, date_column, title_column: None to ignore addresses, dates or titles.
        context_column: if set, every record needs a value in this column.
        strip_marks: whether to remove marks and calls (see `toolformer.markup`) from texts and
            contexts; otherwise they stay and are counted.
        shard_size: number of records (lines, rows or files) per shard.
        maximum_text_bytes: maximum length of a text or context in bytes of UTF-8; records with
            longer ones are rejected.
    """

    path: str
    _: KW_ONLY
    format: GivenFormat = "auto"
    text_column: str = TEXT_COLUMN
    url_column: str | None = URL_COLUMN
    date_column: str | None = DATE_COLUMN
    title_column: str | None = TITLE_COLUMN
    context_column: str | None = None
    strip_marks: bool = False
    limit: int | None = None
    shard_size: int
    maximum_text_bytes: int = MAXIMUM_TEXT_BYTES

    def __post_init__(self) -> None:
        if not self.path.strip():
            raise SourceError(
                "The path of a source is empty. Expected a file, a folder, a glob pattern or one "
                f"of {', '.join(BUILT_IN_SOURCES)}. Set the path."
            )
        check_path(self.path)

    @property
    def name(self) -> str:
        """The normalised path, which identifies the source in the manifest."""
        return normalised_path(self.path)

    @property
    def is_built_in(self) -> bool:
        return self.path in BUILT_IN_SOURCES

    @property
    def columns_by_role(self) -> dict[str, str]:
        """Names of the columns to read, by role: text, context, title, url, date."""
        columns = {
            "text": self.text_column,
            "context": self.context_column,
            "title": self.title_column,
            "url": self.url_column,
            "date": self.date_column,
        }
        return {role: name for role, name in columns.items() if name is not None}

    @property
    def named_columns(self) -> dict[str, str]:
        """Columns that must exist, by role: text, context, and those that the user renamed."""
        defaults = {"title": TITLE_COLUMN, "url": URL_COLUMN, "date": DATE_COLUMN}
        return {
            role: name for role, name in self.columns_by_role.items() if defaults.get(role) != name
        }

    def unread_columns(self, present: Iterable[str]) -> tuple[str, ...]:
        """Return the columns of a record of which no part is read."""
        names = [f"{name}." for name in self.columns_by_role.values()]
        return tuple(
            column for column in present if not any(name.startswith(f"{column}.") for name in names)
        )


def check_path(path: str) -> None:
    """Raise if a path is not UTF-8, because the manifest, which is UTF-8, contains it."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise SourceError(
            f"The path {path!r} is not UTF-8, so it cannot be written to sources.json. Expected a "
            "UTF-8 path. Rename the file, or give its folder or a pattern."
        ) from error
