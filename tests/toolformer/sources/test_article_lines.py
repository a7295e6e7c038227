"""Articles as JSON lines."""

import gzip
import json
from dataclasses import replace

import pytest
import zstandard

from toolformer.sources.articles import read_articles
from toolformer.sources.errors import SourceError
from toolformer.sources.files import list_files
from toolformer.sources.source import Source

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


def written(path, *records):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.writelines(
            f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in records
        )
    (file,) = list_files(Source(str(path), format="jsonl", shard_size=1))
    return file


@pytest.mark.parametrize("name", ["articles.jsonl", "articles.jsonl.gz"])
def test_kilt_has_sections_and_plain_articles_one(tmp_path, name):
    otter, cafe = read_articles(written(tmp_path / name, KILT, "", PLAIN))
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
        "no JSON",
        "[1]",
        '{"title": "A"}',
        '{"text": ["a"]}',
        '{"text": 5}',
        '{"wikipedia_title": "A", "text": [5]}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_article_is_named(tmp_path, line):
    articles = read_articles(written(tmp_path / "a.jsonl", PLAIN, line))
    assert next(articles).title == "Café"
    with pytest.raises(SourceError, match=r"a\.jsonl.* read to their end: line 2 is no article"):
        next(articles)


def test_a_file_that_was_cut_off_after_a_whole_line_is_named(tmp_path):
    file = written(tmp_path / "a.jsonl", PLAIN)
    content = (tmp_path / "a.jsonl").read_bytes()
    compressor = zstandard.ZstdCompressor().compressobj()
    cut = compressor.compress(content) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    (tmp_path / "a.jsonl.zst").write_bytes(cut)
    articles = read_articles(replace(file, path=str(tmp_path / "a.jsonl.zst")))
    assert next(articles).title == "Café"
    with pytest.raises(SourceError, match="ends in the middle of a frame"):
        next(articles)
