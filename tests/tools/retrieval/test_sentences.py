from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.retrieval.sentences import best_sentences, split_sentences

# Few pieces, so that ends, abbreviations and spaces meet often.
PIECES = st.sampled_from(["Dr.", "A.", "In", "we", "3.5", '."', "?", " "])
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=20).map("".join))


@given(TEXTS)
def test_joined_sentences_are_the_text_up_to_white_space(text):
    sentences = split_sentences(text)
    assert " ".join(sentences) == " ".join(text.split())
    assert all(sentences)


@given(TEXTS, st.text(), st.integers(min_value=1, max_value=4))
def test_best_sentences_are_sentences_in_their_order(text, query, max_sentences):
    sentences = split_sentences(text)
    number = min(max_sentences, len(sentences))
    choices = {" ".join(choice) for choice in combinations(sentences, number)}
    assert best_sentences(text, query, max_sentences) in choices


@pytest.mark.parametrize(
    "sentences",
    [
        ["It is 3.5 km long.", "Was it dug?", "Yes!", "(By hand.)", "So they say…", "1869 came."],
        ["Mr. Smith met Dr. J. R. R. Tolkien in St. Louis.", "He was late."],
        ["It fell in the U.S. Senate, e.g. by votes of ca. 50 senators.", "The bill was No. 7."],
        ["Guy (b. 1925) wrote vol. 3, pp. 7 ff. of it.", "Later he died."],
        ["He left for the U.S.", "In 1869 he came back."],
        ["He came with his sons etc.", "They dug."],
        ["It was led by J.", "A man came."],
        ["It was led by J. A. Hall."],
        ['She asked "What now?" and left.', 'He said "No."', '"Why?"'],
        ["Yahoo! and others bid.", "Éric won."],
    ],
)
def test_sentences_end_where_a_reader_ends_them(sentences):
    assert split_sentences("  ".join(sentences)) == sentences


def test_shared_words_count_once_and_function_words_never():
    text = "The the of the canal canal canal. Its sea and a port. It's of the of."
    assert best_sentences(text, "the port's sea of the canal", 1) == "Its sea and a port."
    assert best_sentences(text, "what's the of", 1) == "The the of the canal canal canal."
