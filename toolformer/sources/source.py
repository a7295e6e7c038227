"""A source of texts: a path, a format, the names of its columns."""

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
    """Texts that the user names; the settings check the numbers (`SourceSettings`).

    Attributes:
        path: file, folder, glob pattern, URI that fsspec understands, or the name of a built-in
            source (`BUILT_IN_SOURCES`).
        format: `auto` (from the file names) or one of `SOURCE_FORMATS`.
        text_column, url_column, date_column, title_column: names of columns, as in
            `columns.value_at`; None to ignore addresses, dates or titles.
        context_column: column of a text that precedes the document in training and is not
            annotated; if set, every record needs it.
        strip_marks: whether marks of tools, and calls, are removed from texts and contexts (see
            `toolformer.markup`); otherwise they are counted.
        limit: maximum number of records, from the start; None for all.
        shard_size: records per shard (lines, rows or files).
        maximum_text_bytes: longer texts and contexts are rejected; in bytes of UTF-8.
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
                f"of {', '.join(BUILT_IN_SOURCES)}. Give the source a path."
            )
        check_path(self.path)

    @property
    def name(self) -> str:
        """The normalised path, by which the manifest knows the source."""
        return normalised_path(self.path)

    @property
    def is_built_in(self) -> bool:
        """Whether the source is part of the installation."""
        return self.path in BUILT_IN_SOURCES

    @property
    def columns_by_role(self) -> dict[str, str]:
        """The columns that are read, by what they hold; text first."""
        columns = {
            "text": self.text_column,
            "context": self.context_column,
            "title": self.title_column,
            "url": self.url_column,
            "date": self.date_column,
        }
        return {content: name for content, name in columns.items() if name is not None}

    @property
    def named_columns(self) -> dict[str, str]:
        """The columns that records must have: text, context, and those that the user named."""
        usual = {"title": TITLE_COLUMN, "url": URL_COLUMN, "date": DATE_COLUMN}
        return {
            content: name
            for content, name in self.columns_by_role.items()
            if usual.get(content) != name
        }

    def unread_columns(self, present: Iterable[str]) -> tuple[str, ...]:
        """Return the columns of a record of which nothing is read."""
        names = [f"{name}." for name in self.columns_by_role.values()]
        return tuple(
            column for column in present if not any(name.startswith(f"{column}.") for name in names)
        )


def check_path(path: str) -> None:
    """Raise if a path is not UTF-8, since sources are listed by their paths."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise SourceError(
            f"The path {path!r} is not UTF-8. Expected one that can be listed in sources.json. "
            "Rename the file, or name the folder that it lies in, or a pattern."
        ) from error
