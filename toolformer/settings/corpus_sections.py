"""Settings of the sources and of how their texts are cut."""

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
        description="file, folder or glob, here, at s3:// or hf://; or starter-texts / "
        "starter-sums / starter-people / starter-articles / wikipedia-excerpt"
    )
    format: GivenFormat = "auto"
    text_column: str = TEXT_COLUMN
    url_column: str | None = URL_COLUMN
    date_column: str | None = DATE_COLUMN
    title_column: str | None = TITLE_COLUMN
    context_column: str | None = Field(
        None,
        description="column with a text that precedes the document in training and is not "
        "annotated, such as the question of a worked problem",
    )
    strip_marks: bool = Field(
        False,
        description="take out marks of other tools: chat turns and special tokens such as "
        "<|im_end|>, GSM8K's <<48/2=24>> and its line #### 72, calls such as "
        "[Calculator(48 / 2) -> 24]",
    )
    limit: int | None = Field(None, ge=1, description="maximum number of records, from the start")
    shard_size: int | None = Field(
        None, ge=1, description="records per shard; null: corpus.shard_size"
    )
    tools: tuple[str, ...] | None = Field(
        None, description="tools that annotate its texts; null: every tool that preselects them"
    )
    license: str | None = Field(
        None, description="license of the texts, such as cc-by-sa-4.0; the model card repeats it"
    )


# The corpus if no source is listed. Articles of the excerpt are long.
EMBEDDED_SOURCES = (
    SourceSettings(path=STARTER_TEXTS),  # pyright: ignore[reportCallIssue]
    SourceSettings(path=WIKIPEDIA_EXCERPT, shard_size=10),  # pyright: ignore[reportCallIssue]
)


class CorpusSettings(Section):
    """The texts C and how they are cut."""

    sources: tuple[SourceSettings, ...] = Field(
        (),
        description="the texts; none listed means, in a home without shards of its own, the "
        "embedded corpus (starter-texts and wikipedia-excerpt)",
    )
    shard_size: int = Field(1000, ge=1, description="records per shard, the unit of work")
    window_tokens: int = Field(
        512, ge=8, description="longest stretch of text that is annotated at once, in tokens"
    )
    max_windows_per_text: int = Field(
        2000,
        ge=1,
        description="windows annotated per text; the rest of a longer text is not annotated",
    )
    held_out_every: int = Field(
        10,
        ge=0,
        description="every n-th shard is held out: its texts measure perplexity, and are neither "
        "annotated nor trained on; 0 for none",
    )


def normalised_path(path: str) -> str:
    """Remove `./`, doubled slashes and the `file://` scheme; other URIs stay as they are.

    A folder that has the name of a built-in source keeps its `./`.
    """
    given, path = path, path.removeprefix("file://")
    if "://" in path:
        return path
    path = posixpath.normpath(path)
    return f"./{path}" if path in BUILT_IN_SOURCES and path != given else path
