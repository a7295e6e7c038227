"""Articles of the embedded excerpt, which gensim reads."""

import bz2
import io
from xml.sax.saxutils import escape

import pytest

from toolformer.settings.corpus_sections import WIKIPEDIA_EXCERPT
from toolformer.sources.excerpt import read_wikipedia_excerpt
from toolformer.sources.files import built_in_path

_PAGE = "<page><title>{}</title><ns>{}</ns><id>1</id><revision><text>{}</text></revision></page>"


def dump(*pages: tuple[str, int, str]) -> io.BytesIO:
    written = "".join(
        _PAGE.format(escape(title), space, escape(text)) for title, space, text in pages
    )
    namespace = "http://www.mediawiki.org/xml/export-0.10/"
    head = f'<mediawiki xmlns="{namespace}"><siteinfo><sitename>W</sitename></siteinfo>'
    return io.BytesIO(bz2.compress(f"{head}{written}</mediawiki>".encode()))


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("'''A''' is a [[river (water)|river]] of ''[[Asia]]''.", "A is a river of Asia."),
        (
            "It is {{convert|1300|mi|km}} long.<ref>{{cite|[[B]]}}</ref> Or {{convert|2|to|3|km}}.",
            "It is 1300 mi long. Or 2 to 3 km.",
        ),
        ("He is {{convert|6|ft|4|in|cm|abbr=on}} tall.", "He is 6 ft 4 in tall."),
        (
            "A ({{IPAc-en|x}}, {{lang|la|a}}; ) if 2 < 3 and 10<sup>6</sup>.{{sfn|B}}",
            "A (a;) if 2 < 3 and 10^6.",
        ),
        ("One.\n{|class=a\n|-\n| x || 5\n|}\n\nTwo.", "One.\n\nTwo."),
        (
            "[[File:a.jpg|thumb|[[B|C]] by [[D]], {{age}}.]]\nOne {{as of|2014|lc=y}}.",
            "One as of 2014.",
        ),
        ("One.\n==Uses==\n{{main|B}}\n* B\n:# C\n*\n: D", "One.\n\nUses\n\n- B\n- C\n\nD"),
        ("One.\n== See also ==\n* [[B]]\n=== C ===\nD\n==Uses==\nTwo.", "One.\n\nUses\n\nTwo."),
        ("It said:\n{{quote|text=''We [all] are [[B|b]].''|E}}", "It said:\nWe [all] are b."),
    ],
)
def test_an_article_reads_as_it_is_shown(markup: str, expected: str):
    (article,) = read_wikipedia_excerpt(dump(("Aa R.", 0, markup)))
    assert article == {
        "title": "Aa R.",
        "text": expected,
        "url": "https://en.wikipedia.org/wiki/Aa_R.",
    }


def test_redirects_and_pages_of_other_namespaces_are_no_articles():
    pages = ("A", 0, "#REDIRECT [[B]]"), ("Talk:A", 1, "One."), ("B", 0, ""), ("C (d)", 0, "Two.")
    assert [article["url"] for article in read_wikipedia_excerpt(dump(*pages))] == [
        "https://en.wikipedia.org/wiki/C_(d)"
    ]


def test_the_embedded_excerpt_has_106_articles_of_plain_text():
    with built_in_path(WIKIPEDIA_EXCERPT).open("rb") as stream:
        texts = {article["title"]: article["text"] for article in read_wikipedia_excerpt(stream)}
    assert len(texts) == 106
    assert sum(map(len, texts.values())) > 2_800_000
    assert "Alabama has one of the longest navigable inland waterways" in texts["Alabama"]
    assert "At 1300 mi, Alabama" in texts["Alabama"]
    for mark in ("{{", "[[", "''", "==", "thumb|", "&lt;", "<ref", "__TOC__"):
        assert not [title for title, text in texts.items() if mark in text], mark
