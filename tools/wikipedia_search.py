"""WikiSearch: BM25 over passages of Wikipedia (paper, section 3).

Answers with one snippet, `Title > Section > text`. The text that asks is never its own answer:
passages of its own article, and passages that it repeats, are passed over. Does not build the
index, `tools.wikipedia_index` does.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from tools.base import BaseTool
from tools.errors import CallSyntaxError, ToolCallError, ToolSettingsError
from tools.passage_ranking import Hit, PassageRanker
from tools.passages import Passage
from tools.protocol import Document
from tools.source_exclusion import AskingText
from tools.syntax import clean_result, strip_quotes

LONGEST_QUERY = 300  # characters; a longer one is no search term but a copied text

_DEEPER = 10


class WikiSearch(BaseTool):
    """Searches Wikipedia with BM25 and answers with the best passage that is not the text's own.

    Args:
        index_directory: Folder made by `build_index`, or a prebuilt Pyserini index of Wikipedia
            passages that stores its raw documents.
        k1: BM25's saturation of term frequency, at least 0.
        b: BM25's weight of passage length, 0 to 1.
        snippet_words: Most words of a passage in an answer (the paper does not say; 100).
        threads: Java threads for a batch; the answers do not depend on it.
        depth: Passages fetched before those of the text itself are passed over; where all are,
            ten times as many are looked at.
        overlap_share: Share of a passage's 8-word sequences, above 0 up to 1, that makes it a
            copy when the text that asks contains them.

    Raises:
        ToolSettingsError: When a setting is out of range.
    """

    name = "WikiSearch"
    description = "Finds the Wikipedia passage that matches a search term best."

    def __init__(
        self,
        index_directory: Path | str,
        *,
        k1: float = 0.9,
        b: float = 0.4,
        snippet_words: int = 100,
        threads: int = 2,
        depth: int = 20,
        overlap_share: float = 0.5,
    ) -> None:
        for setting, value, is_valid, expected in (
            ("k1", k1, k1 >= 0, "a number of at least 0"),
            ("b", b, 0 <= b <= 1, "a number from 0 to 1"),
            ("snippet_words", snippet_words, snippet_words >= 1, "at least 1 word"),
            ("threads", threads, threads >= 1, "at least 1 thread"),
            ("depth", depth, depth >= 1, "at least 1 passage"),
            ("overlap_share", overlap_share, 0 < overlap_share <= 1, "above 0, at most 1"),
        ):
            if not is_valid:
                raise ToolSettingsError(f"WikiSearch has {setting}={value!r}. Expected {expected}.")
        self.index_directory = Path(index_directory)
        self.k1 = k1
        self.b = b
        self.snippet_words = snippet_words
        self.threads = threads
        self.depth = depth
        self.overlap_share = overlap_share
        self.ranker = PassageRanker(self.index_directory, k1=k1, b=b, threads=threads)

    # A property, because answers change when the index is built anew during the tool's life.
    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Everything that answers depend on, the fingerprint of the index included."""
        return (
            f"1 k1={self.k1:g} b={self.b:g} snippet_words={self.snippet_words} "
            f"depth={self.depth} overlap_share={self.overlap_share:g} "
            f"index={self.ranker.fingerprint()}"
        )

    def parse_arguments(self, text: str) -> str:
        """Normalise a search term: quotes, control characters and white space.

        Args:
            text: Arguments as the model wrote them.

        Returns:
            The search term on one line.

        Raises:
            CallSyntaxError: As `BaseTool.parse_arguments`, and with reason `too_long`.
        """
        query = super().parse_arguments(strip_quotes("".join(_printable(char) for char in text)))
        if len(query) > LONGEST_QUERY:
            raise CallSyntaxError(
                "too_long",
                f"The search term {query[:40]!r}… has {len(query)} characters. Expected at most "
                f"{LONGEST_QUERY}.",
            )
        return query

    def call(self, arguments: str, document: Document) -> str:
        """Answer one search; see `call_batch`, which is faster for several.

        Args:
            arguments: The search term.
            document: The text that asks.

        Returns:
            `Title > Section > text`, without the section where the passage has none.

        Raises:
            ToolCallError: With reason `no_result`.
            ToolUnavailableError: When the index cannot be opened.
            ToolDiedError: When Lucene fails.
        """
        (answer,) = self.call_batch([(arguments, document)])
        if isinstance(answer, ToolCallError):
            raise answer
        return answer

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Answer several searches with one batch of queries.

        Args:
            requests: Pairs of search term and the text that asks.

        Returns:
            The answers in order, a `ToolCallError` with reason `no_result` where there is none.

        Raises:
            ToolUnavailableError: When the index cannot be opened.
            ToolDiedError: When Lucene fails.
        """
        asking: dict[Document, AskingText] = {}
        answers: dict[int, str] = {}
        open_requests = list(range(len(requests)))
        depth = self.depth
        while open_requests:
            rankings = self.ranker.rank([requests[index][0] for index in open_requests], depth)
            unanswered = []
            for index, ranking in zip(open_requests, rankings, strict=True):
                document = requests[index][1]
                if document not in asking:
                    asking[document] = AskingText(document, self.overlap_share)
                answer = self._first_foreign(ranking, asking[document])
                if answer is not None:
                    answers[index] = answer
                elif len(ranking) == depth:
                    unanswered.append(index)
            if depth > self.depth:
                break
            # Every passage found was the text's own, and there may be more: look deeper, once.
            open_requests, depth = unanswered, depth * _DEEPER
        return [
            answers[index] if index in answers else self._no_result(query)
            for index, (query, _) in enumerate(requests)
        ]

    def check_available(self) -> None:
        """Check index, pyserini and Java by looking at files, without starting Java.

        Raises:
            ToolUnavailableError: When one of them is missing.
        """
        self.ranker.check_available()

    def _first_foreign(self, ranking: list[Hit], text: AskingText) -> str | None:
        """Return the answer made of the best passage that is not the asking text's own."""
        for hit in ranking:
            passage = hit.passage
            # Also the part that is shown: a long passage may be copied there alone.
            shown = cut_words(passage.text, self.snippet_words)
            if not any(
                text.is_own_source(title=passage.title, url=passage.url, text=part)
                for part in (shown, passage.text)
            ):
                return format_snippet(passage, self.snippet_words)
        return None

    def _no_result(self, query: str) -> ToolCallError:
        return ToolCallError(
            "no_result",
            f"Wikipedia search found nothing for {query[:60]!r} outside the text that asks. "
            "Expected words that occur in another article.",
        )


def format_snippet(passage: Passage, snippet_words: int) -> str:
    """Write a passage as an answer.

    Args:
        passage: The passage.
        snippet_words: Most words of its text.

    Returns:
        One line without call markers.

    Example:
        >>> format_snippet(Passage("1", "Suez Canal", "History", "It opened in 1869.", ""), 3)
        'Suez Canal > History > It opened in'
    """
    parts = (passage.title, passage.section, cut_words(passage.text, snippet_words))
    return " > ".join(part for part in map(clean_result, parts) if part)


def cut_words(text: str, most_words: int) -> str:
    """Return the first words of a text, with single spaces between them.

    Args:
        text: Any text.
        most_words: Number of words to keep, at least 1.

    Returns:
        At most that many words.

    Example:
        >>> cut_words("The canal  opened in 1869.", 3)
        'The canal opened'
    """
    return " ".join(text.split()[:most_words])


def _printable(char: str) -> str:
    return " " if unicodedata.category(char) in ("Cc", "Cs") else char
