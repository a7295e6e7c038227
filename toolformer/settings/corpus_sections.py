"""Settings of the text sources, and of how their texts are cut into windows and shards."""

import posixpath
from typing import Literal, get_args

from pydantic import Field

from toolformer.settings.section import Section

SourceFormat = Literal["jsonl", "csv", "parquet", "arrow", "text"]
SOURCE_FORMATS: tuple[str, ...] = get_args(SourceFormat)
GivenFormat = Literal["auto", SourceFormat]

STARTER_TEXTS, STARTER_SUMS, STARTER_PEOPLE, STARTER_ARTICLES = STARTERS = (
    "starter-texts",
    "starter-sums",
    "starter-people",
    "starter-articles",
)
WIKIPEDIA_EXCERPT = "wikipedia-excerpt"
BUILT_IN_SOURCES = (*STARTERS, WIKIPEDIA_EXCERPT)

# Default names of the columns.
TEXT_COLUMN, URL_COLUMN, DATE_COLUMN, TITLE_COLUMN = "text", "url", "date", "title"


class SourceSettings(Section):
    """One source of texts."""

    path: str = Field(
        description="File, folder, glob pattern or address (such as s3:// or hf://), or a "
        "built-in source: starter-texts, starter-sums, starter-people, starter-articles or "
        "wikipedia-excerpt."
    )
    format: GivenFormat = Field("auto", description="Format. auto: detected from the file names.")
    text_column: str = Field(
        TEXT_COLUMN, description="Column with the text. Dots reach into objects, as in data.text."
    )
    url_column: str | None = Field(URL_COLUMN, description="Column with the address of the text.")
    date_column: str | None = Field(DATE_COLUMN, description="Column with the publication date.")
    title_column: str | None = Field(TITLE_COLUMN, description="Column with the title.")
    context_column: str | None = Field(
        None,
        description="Column with a text that precedes the document in training and is not "
        "annotated, such as the question of a worked problem.",
    )
    strip_marks: bool = Field(
        False,
        description="Remove marks of other tools from the texts: chat turns, special tokens such "
        "as <|im_end|>, GSM8K's <<48/2=24>> and its line #### 72, and calls such as "
        "[Calculator(48 / 2) -> 24].",
    )
    limit: int | None = Field(
        None, ge=1, description="Maximum number of records, from the start. null: all."
    )
    shard_size: int | None = Field(
        None, ge=1, description="Records per shard. null: corpus.shard_size."
    )
    tools: tuple[str, ...] | None = Field(
        None, description="Tools that annotate the texts of this source. null: all tools."
    )
    license: str | None = Field(
        None,
        description="Licence of the texts, such as cc-by-sa-4.0. It is copied into the model card.",
    )


# The corpus if no source is listed. The excerpt has small shards, since its articles are long.
EMBEDDED_SOURCES = (
    SourceSettings(path=STARTER_TEXTS),  # pyright: ignore[reportCallIssue]
    SourceSettings(path=WIKIPEDIA_EXCERPT, shard_size=10),  # pyright: ignore[reportCallIssue]
)


class CorpusSettings(Section):
    """The texts (C in the paper) and how they are cut into windows and shards."""

    sources: tuple[SourceSettings, ...] = Field(
        (),
        description="Sources of the texts. If none is listed, a home without shards of its own "
        "uses starter-texts and wikipedia-excerpt.",
    )
    shard_size: int = Field(1000, ge=1, description="Records per shard, the unit of work.")
    window_tokens: int = Field(
        512,
        ge=8,
        description="Maximum length of a window, the piece of text that is annotated at once, in "
        "tokens.",
    )
    max_windows_per_text: int = Field(
        2000,
        ge=1,
        description="Maximum number of windows per text. The rest of a longer text is not "
        "annotated.",
    )
    held_out_every: int = Field(
        10,
        ge=0,
        description="Hold out every n-th shard: its texts measure perplexity, and are neither "
        "annotated nor trained on. 0: none.",
    )


def normalised_path(path: str) -> str:
    """Remove `./`, doubled slashes and the `file://` scheme; other URIs do not change."""
    # A folder with the name of a built-in source keeps its `./`, which distinguishes the two.
    given, path = path, path.removeprefix("file://")
    if "://" in path:
        return path
    path = posixpath.normpath(path)
    return f"./{path}" if path in BUILT_IN_SOURCES and path != given else path
