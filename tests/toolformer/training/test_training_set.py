import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolformer.augmentation import KeptCall
from toolformer.training.shared_words import NgramIndex
from toolformer.training.training_set import (
    AugmentedText,
    TrainingSet,
    TrainingTextFilter,
    build_training_set,
)

SENTENCE = "one two three four five six seven eight nine ten"


def call(tool: str, position: int = 0) -> KeptCall:
    return KeptCall(f"{tool}-{position}", position, position, tool, "2 * 3", "6", 1.5)


def text(
    document: str,
    *tools: str,
    window: int = 0,
    words: str | None = None,
    context: str | None = None,
) -> AugmentedText:
    return AugmentedText(
        document_id=document,
        window_index=window,
        shard="shard-00000",
        text=words or f"Text of {document}, window {window}.",
        calls=tuple(call(tool, place) for place, tool in enumerate(tools)),
        round=1,
        context=context,
    )


def text_filter(*held_out: tuple[str, str], alike: float | None = None) -> TrainingTextFilter:
    """One that holds back texts with two words of a held-out one, and near duplicates."""
    index = NgramIndex(n=2)
    for name, words in held_out:
        index.add(name, words)
    return TrainingTextFilter(index, near_duplicate_similarity=alike)


def build(
    texts, *, cap=1000, share=0.0, seed=1, of: TrainingTextFilter | None = None
) -> TrainingSet:
    return build_training_set(
        texts,
        max_texts_per_tool=cap,
        development_share=share,
        seed=seed,
        text_filter=of or text_filter(),
    )


def names(texts) -> list[str]:
    return [each.document_id for each in texts]


def left_out(chosen: TrainingSet) -> dict[str, int]:
    return dict(Counter(exclusion.reason_with_set for exclusion in chosen.exclusions))


def test_the_first_of_two_texts_that_differ_in_white_space_stays():
    chosen = build(
        [
            text("b", "Calculator", words="Six  times\n two."),
            text("a", "Calculator", words=" Six times two. "),
            text("c", "Calculator", words="six times two."),
        ]
    )
    assert names(chosen.train) == ["b", "c"]
    (copy,) = chosen.exclusions
    assert (copy.reason, copy.text.document_id) == ("duplicate_text", "a")
    assert copy.similar_to == ("b", 0)


def test_a_context_is_a_part_of_the_text_in_what_it_shares():
    """A benchmark's question stands in front of a solution, not in it."""
    texts = [
        text("held out", "QA", context="This is a riddle.", words="The key."),
        text("a", "QA", context=f"{SENTENCE} eleven", words="It is six."),
        text("other question", "QA", context=f"{SENTENCE[::-1]} eleven", words="It is six."),
        text("near", "QA", context=f"{SENTENCE} eleven", words="It is seven."),
        text("copy", "QA", words=f"{SENTENCE} eleven  It is six."),
        # A short held-out text is found where it is all of a context.
        text("short", "QA", context="Why?"),
        text("longer", "QA", context="Why not?"),
    ]
    chosen = build(texts, of=text_filter(("riddles", "a riddle"), ("short", "Why?"), alike=0.7))
    assert names(chosen.train) == ["a", "longer", "other question"]
    assert [(each.text.document_id, each.reason_with_set) for each in chosen.exclusions] == [
        ("held out", "shares_ngram_with_riddles"),
        ("near", "near_duplicate"),
        ("copy", "duplicate_text"),
        ("short", "shares_ngram_with_short"),
    ]


def test_contaminated_texts_and_all_like_them_are_left_out_with_the_shared_words():
    """No row says that a text stayed which did not."""
    texts = [
        text("a", "Calculator", words=f"A  RIDDLE! {SENTENCE}"),
        text("b", "Calculator", words=f"A RIDDLE! {SENTENCE}"),
        text("c", "Calculator", words=f"one riddle {SENTENCE}"),
    ]
    chosen = build(texts, of=text_filter(("riddles", "This is a riddle."), alike=0.5))
    assert names(chosen.train) == ["c"]
    assert [(each.held_out_set, each.shared_ngram) for each in chosen.exclusions] == [
        ("riddles", "a riddle")
    ] * 2
    assert left_out(chosen) == {"shares_ngram_with_riddles": 2}


def test_the_first_of_two_near_duplicates_stays():
    texts = [
        text("b", "QA", words=f"{SENTENCE} eleven."),
        text("a", "MT", words=f"{SENTENCE}; ELEVEN twelve"),
        text("c", "MT", words=f"{SENTENCE[::-1]}"),
    ]
    chosen = build(texts, of=text_filter(alike=0.8))
    assert names(chosen.train) == ["b", "c"]
    (copy,) = chosen.exclusions
    assert (copy.reason, copy.similar_to) == ("near_duplicate", ("b", 0))
    assert copy.similarity == 7 / 8
    assert len(build(texts).train) == 3


def test_no_text_of_one_side_is_nearly_one_of_the_other():
    # Twenty pairs, the two texts of each in different documents.
    texts = [
        text(f"{side}{number}", "QA", words=f"{SENTENCE} eleven {number} {side}")
        for number in range(20)
        for side in "ab"
    ]
    chosen = build(texts, share=0.5, of=text_filter(alike=0.5))
    assert len(chosen.train) + len(chosen.development) == 1
    assert left_out(chosen) == {"near_duplicate": 39}


def test_no_tool_has_more_texts_of_its_own_than_the_cap():
    texts = [text(f"d{number}", "WikiSearch", "WikiSearch") for number in range(30)]
    texts += [text(f"e{number}", "Calculator") for number in range(4)]
    chosen, other = (build(texts, cap=10, seed=seed) for seed in (1, 2))
    counts = Counter(tool for each in chosen.train for tool in each.tools)
    assert counts == {"WikiSearch": 10, "Calculator": 4}
    assert left_out(chosen) == {"over_cap": 20}
    assert chosen.train != other.train


def test_all_windows_of_a_document_stay_on_one_side_whatever_else_changes():
    texts = [text(f"d{number}", "QA", window=window) for number in range(60) for window in range(3)]
    chosen = build(texts, share=0.3)
    train, development = set(names(chosen.train)), set(names(chosen.development))
    assert not train & development
    assert len(train) + len(development) == 60
    assert len(chosen.train) + len(chosen.development) == 180
    assert 8 <= len(development) <= 28  # binomial(60, 0.3): outside with a chance below 0.2 %
    assert build(texts, share=0.3, cap=5, seed=2).development == chosen.development
    more = [*texts, *(text(f"e{number}", "QA") for number in range(40))]
    assert set(chosen.development) <= set(build(more, share=0.3).development)


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_two_documents_give_one_for_each_side_and_one_is_trained_on(share):
    chosen = build([text("a", "QA"), text("b", "QA")], share=share)
    assert (len(chosen.train), len(chosen.development)) == (1, 1)
    chosen = build([text("a", "QA")], share=share)
    assert (len(chosen.train), len(chosen.development)) == (1, 0)


corpora = st.lists(
    st.tuples(
        st.integers(0, 8),
        st.integers(0, 3),
        st.sets(st.sampled_from(["QA", "Calculator", "MT"]), max_size=3),
    ),
    max_size=20,
    unique_by=lambda row: row[:2],
).map(
    lambda rows: [
        text(f"d{number}", *sorted(tools), window=window) for number, window, tools in rows
    ]
)


@settings(deadline=None)
@given(corpora, st.integers(1, 4), st.floats(0, 0.9), st.integers(0, 99), st.randoms())
def test_every_text_is_counted_once_and_the_order_given_does_not_matter(
    texts, cap, share, seed, chance: random.Random
):
    chosen = build(texts, cap=cap, share=share, seed=seed)
    over_cap = [each.text for each in chosen.exclusions]
    counted = [*chosen.train, *chosen.development, *over_cap]
    assert len(counted) + chosen.without_call == len(texts)
    assert {each.key for each in counted} == {each.key for each in texts if each.calls}
    # Only where all its tools are.
    taken = [tool for each in chosen.train for tool in each.tools]
    assert all(taken.count(tool) >= cap for each in over_cap for tool in each.tools)
    shuffled = list(texts)
    chance.shuffle(shuffled)
    assert build(shuffled, cap=cap, share=share, seed=seed) == chosen
