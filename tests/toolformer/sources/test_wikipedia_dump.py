import bz2
import time
from pathlib import Path

import pytest

from tests.toolformer.sources.conftest import DUMP_HEAD, outcomes, page_xml, parsed, raw_records
from toolformer.sources.articles import read_articles
from toolformer.sources.errors import SourceError
from toolformer.sources.files import SourceFile, list_files
from toolformer.sources.reasons import Tally
from toolformer.sources.records import ParsedDocument, Rejection
from toolformer.sources.source import Source
from toolformer.sources.wiki_markup import ArticleSection, sections_of


def dump_file(path: Path) -> SourceFile:
    (file,) = list_files(Source(str(path), format="wikipedia-dump", shard_size=1))
    return file


def text_of(markup: str) -> str:
    return "\n".join(section.text for section in sections_of(markup))


@pytest.mark.parametrize(
    ("markup", "shown"),
    [
        ("'''Cats''' (''Felis'') eat [[mouse|mice]], [[bird]]s.", "Cats (Felis) eat mice, birds."),
        ("A<ref name=x>{{cite|a}}</ref> fact<ref name=x />.", "A fact."),
        ("[[File:A.jpg|thumb|A [[cat]] asleep]]Cats sleep.[[Category:Cats]]", "Cats sleep."),
        ("See [[:Category:Cats]] [[fr:Chat]].", "See Category:Cats."),
        ("{| class=wikitable\n| cell\n|}\nAfter.", "After."),
        ("Before {{infobox|a={{b}}|c=[[d]]}} after.", "Before after."),
        ("It is {{convert|42.195|km|mi|1}} long.", "It is 42.195 km long."),
        ("From {{convert|5|to|8|m|ft}} high.", "From 5 to 8 m high."),
        ("The word {{lang|fr|chat}} and {{lang-de|Katze}}.", "The word chat and Katze."),
        ("Area <math>a^2</math>.<!-- hidden --> Next.", "Area. Next."),
        ("A&nbsp;b &amp; c &#xd800;d.", "A b & c d."),
        ("Cat ({{IPA|x}}; from Latin ''cattus'') is.", "Cat (from Latin cattus) is."),
        ("''Titanic'''s captain", "Titanic's captain"),
        ("* one\n* two", "- one\n- two"),
        ("See [http://a.org the site] and [http://b.org].", "See the site and."),
        ("<gallery>\nFile:A.jpg|x\n</gallery>End __NOTOC__", "End"),
        ("x<sup>2</sup> <small>small</small><br/>next", "x² small\nnext"),
        ("[[unclosed {{broken ''x", "[[unclosed {{broken x"),
        ("Text [x] -> y, Calculator(1+1)", "Text [x] -> y, Calculator(1+1)"),
    ],
)
def test_markup_is_replaced_by_what_a_reader_sees(markup, shown):
    assert text_of(markup) == shown


def test_headings_split_and_apparatus_is_left_out_with_its_subsections():
    markup = (
        "Lead.\n== ''Food'' ==\nMice.\n=== Fish ===\nTuna.\n== References ==\nR.\n"
        "=== Books ===\nB.\n== Play ==\nString.\n== Empty ==\n"
    )
    assert sections_of(markup) == [
        ArticleSection("", "Lead."),
        ArticleSection("Food", "Mice."),
        ArticleSection("Fish", "Tuna."),
        ArticleSection("Play", "String."),
    ]


@pytest.mark.parametrize("piece", ["\n", " ;", "( ", "- ", "''", "_"])
def test_cleaning_takes_no_quadratic_time(piece):
    began = time.process_time()
    text_of(piece * 20_000)
    assert time.process_time() - began < 10


LONG = "mot " * 45


@pytest.fixture
def dump(tmp_path) -> Path:
    path = tmp_path / "frwiki.xml.bz2"
    sections = f"[[Fichier:A.jpg|{LONG}]]{LONG}\n== Un ==\ncourt\n== Deux ==\n{LONG}"
    pages = (
        page_xml("A/B: Été (100%?)", sections)
        + page_xml("Estivale", "#REDIRECT [[Été]]", redirect="Été")
        + page_xml("Discussion:Été", LONG, namespace=1)
        + page_xml("Vide", "{{modèle}}")
        + page_xml("Court", "Trop court.")
    )
    path.write_bytes(bz2.compress((DUMP_HEAD + pages + "</mediawiki>").encode()))
    return path


def test_long_sections_become_documents_and_other_pages_say_why_not(dump, source_of):
    *sections, redirect, talk, empty, short = parsed(source_of(dump))
    assert [d.text for d in sections if isinstance(d, ParsedDocument)] == [LONG.strip()] * 2
    assert {(d.title, d.url, d.source_offset) for d in sections} == {
        ("A/B: Été (100%?)", "https://fr.wikipedia.org/wiki/A/B:_%C3%89t%C3%A9_(100%25%3F)", 0)
    }
    assert len({d.document_id for d in sections}) == 2
    rejections = (redirect, talk, empty, short)
    assert [(r.source_offset, r.reason) for r in rejections if isinstance(r, Rejection)] == [
        (1, "redirect"),
        (2, "not_an_article"),
        (3, "no_text_after_markup"),
        (4, "no_text_after_markup"),
    ]


def test_a_section_of_forty_words_is_long_enough(tmp_path, source_of):
    path = tmp_path / "enwiki.xml"
    pages = page_xml("Forty", "word " * 40) + page_xml("Fewer", "word " * 39)
    path.write_text(DUMP_HEAD + pages + "</mediawiki>")
    assert outcomes(source_of(path)) == ["word " * 39 + "word", "no_text_after_markup"]


def test_articles_keep_all_sections_for_the_search_index(dump):
    pages = Tally()
    articles = list(read_articles(dump_file(dump), pages))
    assert str(pages) == (
        "5 records read, 2 usable, 3 rejected: no_text_after_markup 1, not_an_article 1, redirect 1"
    )
    assert [(a.title, [s.heading for s in a.sections]) for a in articles] == [
        ("A/B: Été (100%?)", ["", "Un", "Deux"]),
        ("Court", [""]),
    ]


def test_dump_that_stops_in_the_middle_gives_the_pages_before(dump, written):
    xml = bz2.decompress(dump.read_bytes())
    source = written("a.xml", xml[: xml.index(b"Vide")])
    assert outcomes(source)[2:] == ["redirect", "not_an_article", "truncated_source"]
    with pytest.raises(SourceError, match="cannot be read to their end"):
        list(read_articles(dump_file(Path(source.path))))


def test_an_index_leaves_out_pages_that_are_too_long_to_be_read(written, monkeypatch):
    monkeypatch.setattr("toolformer.sources.articles.MAXIMUM_TEXT_BYTES", 1000)
    long = "".join(page_xml(title, f"{title} " * 100_000) for title in ("Long", "Other"))
    first, last = (page_xml(title, f"{title} stands.") for title in ("First", "Last"))
    dump = written("a.xml", f"{DUMP_HEAD}{first}{long}{last}</mediawiki>")
    pages = Tally()
    articles = read_articles(dump_file(Path(dump.path)), pages)
    assert [article.title for article in articles] == ["First", "Last"]
    assert str(pages) == "4 records read, 2 usable, 2 rejected: too_long 2"

    damaged = written("b.xml", f"{DUMP_HEAD}{first}{long}<page><a></page>{last}</mediawiki>")
    with pytest.raises(SourceError, match="cannot be read to their end"):
        list(read_articles(dump_file(Path(damaged.path))))


def test_pages_that_are_too_long_cost_a_corpus_one_record(written):
    long = "".join(page_xml(title, f"{title} " * 100_000) for title in ("Long", "Other"))
    page = page_xml("Whole", "word " * 40)
    xml = f"{DUMP_HEAD}{page}{long}{page}</mediawiki>"
    first, record, last = raw_records(written("a.xml", xml, maximum_text_bytes=1000))
    assert (record.offset, record.losses) == (1, {"damaged_bytes": len(long)})
    assert record.raw.startswith(f"{len(long):,} bytes were passed over: a page of over 8,000")
    assert (first.offset, last.offset) == (0, 2)


@pytest.mark.parametrize("encoding", ["Shift_JIS", "klingon", "base64", "punycode"])
def test_dump_in_an_encoding_that_cannot_be_read_is_named(written, encoding):
    dump = DUMP_HEAD + page_xml("A", LONG) + "</mediawiki>"
    source = written("a.xml", f'<?xml version="1.0" encoding="{encoding}"?>\n{dump}')
    with pytest.raises(SourceError, match=r"a\.xml: its first line names an encoding"):
        parsed(source)
    with pytest.raises(SourceError, match=r"a\.xml' .*its first line names an encoding"):
        list(read_articles(dump_file(Path(source.path))))


def test_page_of_unclosed_templates_is_rejected_without_parsing_it(written):
    page = page_xml("A", "={{a|" * 20_000)
    assert outcomes(written("a.xml", f"{DUMP_HEAD}{page}</mediawiki>")) == ["unparsable_markup"]


@pytest.mark.slow
def test_real_dump_has_its_articles_and_the_built_in_excerpt_is_the_same(test_data: Path):
    dump = test_data / "dumps/enwiki-pages-articles1-shortened.xml.bz2"
    articles = list(read_articles(dump_file(dump)))
    assert len(articles) == 106
    assert articles[0].url == "https://en.wikipedia.org/wiki/Anarchism"
    assert sum(len(s.text.split()) for a in articles for s in a.sections) > 350_000
    texts = " ".join(section.text for article in articles for section in article.sections)
    for leftover in ("[[", "]]", "{{", "'''", "<ref", "thumb|"):
        assert texts.count(leftover) < 5
    source = Source("wikipedia-excerpt", shard_size=50)
    assert len(raw_records(source)) == 206
