"""Wikipedia articles as JSON lines: KILT's knowledge source, or just titles and texts.

    {"wikipedia_title": "Otter", "text": ["Otter", "Otters swim.", "Section::::Diet.", …]}
    {"title": "Otter", "text": "Otters swim.", "url": "https://…"}

Does not cut articles into passages.
"""

import io
import json
import zlib
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from toolformer.sources.compression import decompressed
from toolformer.sources.errors import SourceError
from toolformer.sources.files import SourceFile, open_stored
from toolformer.sources.wiki_markup import ArticleSection
from toolformer.sources.wikipedia_dump import Article, article_url

# How KILT writes headings and list items among the paragraphs.
_HEADING, _ITEM = "Section::::", "BULLET::::"


def read_article_lines(file: SourceFile) -> Iterator[Article]:
    """Yield the articles of a file, one line each.

    Args:
        file: JSON lines, plain or compressed (`.gz`, `.bz2`, `.zst`), wherever it lies.

    Raises:
        SourceError: a line is no article, or the file is gone or damaged; articles before it came.
    """
    number = 0
    try:
        with (
            open_stored(file) as stored,
            io.BufferedReader(decompressed(stored, file.path)) as stream,
            io.TextIOWrapper(stream, encoding="utf-8") as lines,
        ):
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _article(json.loads(line), number)
    except (
        AttributeError,
        EOFError,
        KeyError,
        OSError,
        RecursionError,
        TypeError,
        ValueError,
        zlib.error,
    ) as error:
        raise SourceError(
            f"Line {number} of {file.name} is no article: {type(error).__name__}: {error}. "
            "Expected JSON with 'wikipedia_title' and 'text', a list of paragraphs (KILT), or with "
            "'title' and 'text', a string. Nothing after this line was read."
        ) from error


def _article(record: dict[str, Any], number: int) -> Article:
    if isinstance(record["text"], str):
        title, sections = str(record["title"]), [ArticleSection("", record["text"])]
    else:
        title = str(record["wikipedia_title"])
        sections = list(_sections(title, record["text"]))
    # KILT names the revision; passages want the article.
    url = str(record.get("url") or article_url(title))
    return Article(number, title, url, tuple(section for section in sections if section.text))


def _sections(title: str, paragraphs: list[str]) -> Iterator[ArticleSection]:
    heading = ""
    for is_heading, group in groupby(paragraphs, lambda each: each.startswith(_HEADING)):
        if is_heading:
            heading = list(group)[-1].removeprefix(_HEADING).strip().rstrip(".")
            # Below another heading it is written "Parent:Child".
            heading = heading.rpartition(":")[2]
        else:
            texts = [each.strip().removeprefix(_ITEM).strip() for each in group]
            # The first paragraph repeats the title.
            yield ArticleSection(heading, "\n\n".join(t for t in texts if t and t != title))
