import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tests.toolformer.training.test_training_set import build, text, text_filter
from toolformer.training.training_set import (
    AugmentedText,
    Exclusion,
    draw_plain_windows,
    is_development_document,
)


class Corpus:
    """Windows without calls, and how many were looked at."""

    def __init__(self, documents: int, windows: int = 3):
        numbers = itertools.product(range(documents), range(windows))
        self.texts = [text(f"d{number}", window=window) for number, window in numbers]
        self.looked_at = 0

    def windows(self, is_wanted: Callable[[str], bool]) -> Iterator[AugmentedText]:
        for each in self.texts:
            if is_wanted(each.document_id):
                self.looked_at += 1
                yield each

    def draw(self, wanted: int, **changes: Any) -> tuple[list[AugmentedText], list[Exclusion]]:
        settings = {
            "development_share": 0.0,
            "development_documents": (),
            "seed": 1,
            "text_filter": text_filter(),
        }
        return draw_plain_windows(self.windows, wanted=wanted, **settings | changes)


def test_as_many_as_wanted_are_drawn_each_once_as_the_seed_decides_and_not_the_order():
    corpus, turned = Corpus(40), Corpus(40)
    turned.texts.reverse()
    texts, exclusions = corpus.draw(50)
    assert len({each.key for each in texts}) == 50
    assert turned.draw(50) == (texts, exclusions) == (texts, [])
    assert corpus.draw(50, seed=2) != (texts, [])


def test_every_window_has_the_same_chance():
    counts = Counter(
        text.window_index
        for seed in range(200)
        for text in Corpus(10, windows=4).draw(10, seed=seed)[0]
    )
    # 2,000 draws, binomial with 1/4: five standard deviations are 97.
    assert all(abs(counts[window] - 500) < 97 for window in range(4))


def test_of_a_large_corpus_only_a_part_is_looked_at():
    corpus = Corpus(3000, windows=2)
    assert len(corpus.draw(10)[0]) == 10
    assert corpus.looked_at < 300


def test_what_the_filter_holds_back_is_replaced_by_others():
    corpus = Corpus(40, windows=1)
    corpus.texts += [
        text(f"e{number}", words=f"A riddle, number {number}.") for number in range(40)
    ]
    texts, exclusions = corpus.draw(40, text_filter=text_filter(("riddles", "a riddle")))
    assert {each.document_id for each in texts} == {f"d{number}" for number in range(40)}
    assert exclusions
    assert {each.reason_with_set for each in exclusions} == {"shares_ngram_with_riddles"}
    assert len({each.text.key for each in exclusions}) == len(exclusions)


def test_a_plain_window_that_is_a_text_with_calls_is_held_back():
    shared = text_filter()
    build([text("a", "QA", words="Six times two.")], of=shared)
    corpus = Corpus(0)
    corpus.texts = [text("b", words="Six times  two.")]
    texts, (copy,) = corpus.draw(1, text_filter=shared)
    assert texts == []
    assert copy.similar_to is not None
    assert copy.similar_to[0] == "a"


def test_no_document_of_the_development_side_is_drawn_from():
    share = 0.4
    expected = {f"d{n}" for n in range(60) if not is_development_document(f"d{n}", share)}
    # On that side all the same: of few documents it has some by their rank.
    chosen = {"d2", "d3"}
    assert chosen < expected
    texts, _ = Corpus(60).draw(1000, development_share=share, development_documents=chosen)
    assert {each.document_id for each in texts} == expected - chosen
