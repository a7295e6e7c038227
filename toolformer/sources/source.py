"""What a source is: a path, a format, the names of its columns."""

import posixpath
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal, get_args

from toolformer.sources.errors import SourceError

SourceFormat = Literal["jsonl", "parquet", "text", "wikipedia-dump", "warc"]
SOURCE_FORMATS: tuple[str, ...] = get_args(SourceFormat)
GivenFormat = Literal["auto", SourceFormat]
FORMATS_WITH_COLUMNS = ("jsonl", "parquet")

STARTER_TEXTS, STARTER_SUMS, STARTER_PEOPLE, STARTER_ARTICLES = STARTERS = (
    "starter-texts",
    "starter-sums",
    "starter-people",
    "starter-articles",
)
WIKIPEDIA_EXCERPT = "wikipedia-excerpt"
BUILT_IN_SOURCES = (*STARTERS, WIKIPEDIA_EXCERPT)

# Names of the columns where a source does not say otherwise.
TEXT_COLUMN, URL_COLUMN, DATE_COLUMN, TITLE_COLUMN = "text", "url", "date", "title"

MAXIMUM_TEXT_BYTES = 5_000_000


@dataclass(frozen=True, slots=True)
class Source:
    """Texts that the user points at; the settings check the numbers (`SourceSettings`).

    Attributes:
        path: file, folder, glob pattern, URI that fsspec understands, or the name of a built-in
            source, as in `BUILT_IN_SOURCES`.
        format: `auto` (from the file names) or one of `SOURCE_FORMATS`.
        text_column, url_column, date_column, title_column: names in JSONL and Parquet, as of
            `columns.value_at`; None to ignore addresses, dates or titles.
        context_column: holds what stands in front of the text in training and is not annotated;
            where it is named, every record has it.
        strip_marks: whether marks of tools, and calls, are taken out of texts and contexts (see
            `toolformer.marks`); else they are counted.
        limit: at most this many raw records, from the start; None for all.
        shard_size: raw records in a shard (lines, rows, files; pages of a Wikipedia dump).
        maximum_text_bytes: texts, and contexts, longer than this in UTF-8 are rejected.
        maximum_file_bytes: bytes that a file may grow to when it is read, and 500 more for each
            record or line; None for 64 MiB and 200 times what is stored.
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
    maximum_file_bytes: int | None = None

    def __post_init__(self) -> None:
        if not self.path.strip():
            raise SourceError(
                "The path of a source is empty. Expected a file, a folder, a glob pattern or one "
                f"of {', '.join(BUILT_IN_SOURCES)}. Give the source a path."
            )
        check_path(self.path)

    @property
    def name(self) -> str:
        """The path in its normal form, by which the manifest knows the source."""
        return normalised_path(self.path)

    @property
    def is_built_in(self) -> bool:
        """Whether the source comes with the program."""
        return self.path in BUILT_IN_SOURCES

    @property
    def columns_of(self) -> dict[str, str]:
        """The columns that are read, by what they hold; text first."""
        optional = {"title": self.title_column, "url": self.url_column, "date": self.date_column}
        given = {content: name for content, name in optional.items() if name is not None}
        return self.required_columns | given

    @property
    def required_columns(self) -> dict[str, str]:
        """The columns without which a source cannot be meant, by what they hold; text first."""
        context = {} if self.context_column is None else {"context": self.context_column}
        return {"text": self.text_column, **context}

    @property
    def named_columns(self) -> dict[str, str]:
        """The required columns, and those that were named: others may be in no record."""
        usual = {"title": TITLE_COLUMN, "url": URL_COLUMN, "date": DATE_COLUMN}
        return {
            content: name for content, name in self.columns_of.items() if usual.get(content) != name
        }

    def unread_columns(self, present: Iterable[str]) -> list[str]:
        """Those of the columns of a record or file that are not read, not even what is in them."""
        names = self.columns_of.values()
        return [
            column
            for column in present
            if not any(name == column or name.startswith(f"{column}.") for name in names)
        ]

    def with_format(self, source_format: SourceFormat) -> "Source":
        """The source with the format of its files, which have columns where it names a context."""
        if self.context_column is not None and source_format not in FORMATS_WITH_COLUMNS:
            raise SourceError(
                f"Source {self.path!r} names context_column = {self.context_column!r}, but files "
                f"of the format {source_format} have no columns. Expected one of "
                f"{', '.join(FORMATS_WITH_COLUMNS)}. Leave context_column out, or write the texts "
                "as JSON lines."
            )
        return replace(self, format=source_format)


def check_path(path: str) -> None:
    """Refuses a path that cannot be written down, since sources are listed by their paths."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise SourceError(
            f"The path {path!r} is not UTF-8. Expected one that can be listed in sources.json. "
            "Rename the file, or name the folder that it lies in, or a pattern."
        ) from error


def normalised_path(path: str) -> str:
    """Drops `./`, doubled slashes and the `file://` scheme; other URIs stay as they are.

    A folder that happens to be called like a built-in source keeps its `./`.
    """
    given, path = path, path.removeprefix("file://")
    if "://" in path:
        return path
    path = posixpath.normpath(path)
    return f"./{path}" if path in BUILT_IN_SOURCES and path != given else path
