import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.training.decontamination import NgramIndex, Overlap
from toolformer.training.words import words_of

PASSAGE = (
    "The lighthouse keeper counts nineteen ships a week in summer and hardly three in winter, "
    "when the ice closes the northern channel."
)


def overlap(index: NgramIndex, text: str) -> str | None:
    """Name of the set that a text overlaps with."""
    found = index.first_overlap(text)
    return found and found.name


def words(count: int, prefix: str = "w") -> str:
    return " ".join(f"{prefix}{number}" for number in range(count))


@pytest.fixture
def index() -> NgramIndex:
    index = NgramIndex()
    index.add("lighthouses", PASSAGE)
    return index


def test_case_punctuation_and_line_breaks_make_no_difference(index):
    changed = PASSAGE.upper().replace(" ", "\n - ").replace(",", " …")
    assert overlap(index, changed) == "lighthouses"


def test_twelve_shared_words_are_not_enough_and_thirteen_are():
    index = NgramIndex()
    index.add("numbers", words(40))
    assert overlap(index, f"so {words(12)} so") is None
    assert overlap(index, f"so {words(13)} so") == "numbers"


def test_the_first_shared_words_are_told_as_they_are_compared():
    index = NgramIndex(n=2)
    index.add("letters", "a b c d")
    assert index.first_overlap("X: B, c – D") == Overlap("letters", "b c")


def test_a_short_text_is_compared_as_a_whole():
    index = NgramIndex()
    index.add("questions", "Who painted The Night Watch?")
    assert overlap(index, "who painted the night watch") == "questions"
    assert overlap(index, "Who painted The Night Watch in Amsterdam?") is None
    assert overlap(index, f"Who painted The Night Watch? {words(20)}") is None


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("who painted The Night Watch", "So: Who painted the Night Watch? He did."),
        ("Dante was born in", "Dante was born in Florence."),
        ("谁写了这本书?", "有人问谁写了这本书，没人知道。"),
    ],
)
def test_a_short_question_is_found_inside_a_longer_text(question, text):
    index = NgramIndex()
    index.add_question("questions", question)
    assert overlap(index, question) == "questions"
    assert overlap(index, text) == "questions"
    assert overlap(index, f"{words(20)} {text} {words(20)}") == "questions"


@pytest.mark.parametrize("question", ["Who are you?", "What is it like?", "Rembrandt"])
def test_a_question_of_common_words_or_one_word_is_found_as_a_whole_only(question):
    index = NgramIndex()
    index.add_question("questions", question)
    assert overlap(index, question.upper()) == "questions"
    assert overlap(index, f"Then: {question}") is None


def test_a_part_of_a_short_question_is_no_overlap():
    index = NgramIndex()
    index.add_question("questions", "Who painted The Night Watch?")
    assert overlap(index, f"The Night Watch was painted by someone who {words(20)}") is None
    assert overlap(index, "Then: who painted The Night") is None


def test_the_set_of_the_first_shared_words_is_named():
    index = NgramIndex(n=2)
    index.add("first", "alpha beta")
    index.add("second", "gamma delta")
    index.add("third", "alpha beta")
    assert overlap(index, "gamma delta, alpha beta") == "second"
    assert overlap(index, "alpha beta, gamma delta") == "first"


@pytest.mark.parametrize("empty", ["", "  \n", "… – !?"])
def test_a_text_without_words_overlaps_with_nothing(empty):
    index = NgramIndex()
    index.add("nothing", empty)
    assert len(index) == 0
    assert overlap(index, empty) is None


def test_composed_and_decomposed_letters_are_the_same():
    index = NgramIndex(n=2)
    index.add("fiancés", "fianc\u00e9 two")
    assert overlap(index, "fiance\u0301 two") == "fiancés"


def test_vowel_signs_belong_to_their_words():
    assert words_of("दिल्ली कहाँ है?") == ["दिल्ली", "कहाँ", "है"]


tokens = st.lists(st.sampled_from("abcd"), max_size=12)


@given(tokens, tokens, st.integers(1, 4))
def test_overlap_is_a_shared_run_of_n_words_or_equal_short_texts(held_out, text, n):
    def runs(sequence):
        if not sequence:
            return set()
        return {tuple(sequence[i : i + n]) for i in range(max(len(sequence) - n, 0) + 1)}

    index = NgramIndex(n=n)
    index.add("held out", " ".join(held_out))
    expected = "held out" if runs(held_out) & runs(text) else None
    assert overlap(index, " ".join(text)) == expected
