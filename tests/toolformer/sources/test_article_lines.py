"""Articles as JSON lines."""

import gzip
import json

import pytest
import zstandard

from toolformer.sources.articles import read_articles
from toolformer.sources.errors import SourceError
from toolformer.sources.files import list_files

KILT = {
    "wikipedia_id": "25",
    "wikipedia_title": "Otter",
    "text": [
        "Otter\n",
        "Otters swim.\n",
        "They dive.\n",
        "Section::::Life.\n",
        "Section::::Life:Diet.\n",
        "They eat:\n",
        "BULLET::::- fish\n",
        "Section::::External links.\n",
    ],
}
PLAIN = {"title": "Café", "text": "It opens early.", "url": "https://example.org/cafe"}


def article_file(source):
    (file,) = list_files(source)
    return file


def lines(*records) -> str:
    return "".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in records)


@pytest.mark.parametrize(("name", "pack"), [("a.jsonl", bytes), ("a.jsonl.gz", gzip.compress)])
def test_kilt_has_sections_and_plain_articles_one(written, name, pack):
    otter, cafe = read_articles(article_file(written(name, pack(lines(KILT, "", PLAIN).encode()))))
    assert (otter.title, otter.url) == ("Otter", "https://en.wikipedia.org/wiki/Otter")
    assert [(each.heading, each.text) for each in otter.sections] == [
        ("", "Otters swim.\n\nThey dive."),
        ("Diet", "They eat:\n\n- fish"),
    ]
    assert (cafe.title, cafe.url) == ("Café", "https://example.org/cafe")
    assert [each.text for each in cafe.sections] == ["It opens early."]


@pytest.mark.parametrize(
    "line",
    [
        *("no JSON", "[1]", '{"title": "A"}', '{"text": ["a"]}', '{"text": 5}', "[" * 100_000),
        '{"wikipedia_title": "A", "text": [5]}',
    ],
)
def test_a_line_that_is_no_article_is_named(written, line):
    articles = read_articles(article_file(written("a.jsonl", lines(PLAIN, line))))
    assert next(articles).title == "Café"
    with pytest.raises(SourceError, match=r"a\.jsonl.* read to their end: line 2 is no article"):
        next(articles)


def test_a_file_that_was_cut_off_after_a_whole_line_is_named(written):
    compressor = zstandard.ZstdCompressor().compressobj()
    cut = compressor.compress(lines(PLAIN).encode())
    cut += compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    articles = read_articles(article_file(written("a.jsonl.zst", cut)))
    assert next(articles).title == "Café"
    with pytest.raises(SourceError, match="ends in the middle of a frame"):
        next(articles)
