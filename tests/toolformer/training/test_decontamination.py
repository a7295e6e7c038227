import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.training.shared_words import NgramIndex, words_of


def overlap(index: NgramIndex, text: str) -> str | None:
    """Name of the set that a text overlaps with."""
    found = index.first_overlap(text)
    return found and found[0]


def index_of(n: int = 13, **sets: str) -> NgramIndex:
    index = NgramIndex(n=n)
    for name, text in sets.items():
        index.add(name, text)
    return index


def index_of_question(question: str) -> NgramIndex:
    index = NgramIndex()
    index.add_question("questions", question)
    return index


def words(count: int) -> str:
    return " ".join(f"w{number}" for number in range(count))


def test_twelve_shared_words_are_not_enough_and_thirteen_are():
    index = index_of(numbers=words(40))
    assert overlap(index, f"so {words(12)} so") is None
    assert overlap(index, f"so {words(13)} so") == "numbers"


def test_the_first_shared_words_are_told_as_they_are_compared_and_the_first_set_with_them():
    index = index_of(2, first="a b c d", second="e fianc\u00e9", third="b c")
    assert index.first_overlap("X: B,\n c – D, e fiancé") == ("first", "b c")
    # Composed and decomposed letters are the same.
    assert overlap(index, "E FIANCE\u0301, b c") == "second"


def test_a_short_text_is_compared_as_a_whole():
    index = index_of(questions="Who painted The Night Watch?")
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
def test_a_short_question_is_found_inside_a_longer_text_but_no_part_of_it(question, text):
    index = index_of_question(question)
    for found in (question, text, f"{words(20)} {text} {words(20)}"):
        assert overlap(index, found) == "questions"
    assert overlap(index, f"{text.replace(question[-2], '')} {words(20)}") is None


@pytest.mark.parametrize("question", ["Who are you?", "What is it like?", "Rembrandt"])
def test_a_question_of_common_words_or_one_word_is_found_as_a_whole_only(question):
    index = index_of_question(question)
    assert overlap(index, question.upper()) == "questions"
    assert overlap(index, f"Then: {question}") is None


@pytest.mark.parametrize("empty", ["", "  \n", "… – !?"])
def test_a_text_without_words_overlaps_with_nothing(empty):
    index = index_of(nothing=empty)
    for text in (empty, "one", words(20)):
        assert overlap(index, text) is None


@pytest.mark.parametrize(
    "question",
    [
        "Why don't well-known singers sing?",
        "Whose mother's-in-law house didn’t burn?",
        "Can't a rock-'n'-roll singer's half-open door shut?",
    ],
)
@pytest.mark.parametrize("apostrophe", ["'", "’", "", " ", "ʼ"])
@pytest.mark.parametrize("hyphen", ["-", "", " ", "‐", "\u00ad"])
def test_a_copy_without_apostrophes_or_hyphens_is_found_and_so_is_the_reverse(
    question, apostrophe, hyphen
):
    copy = question.replace("’", "'").replace("'", apostrophe).replace("-", hyphen)
    assert overlap(index_of_question(question), f"Then: {copy} So.") == "questions"
    if apostrophe == hyphen == "" or apostrophe == "'":
        assert overlap(index_of_question(copy), f"Then: {question} So.") == "questions"


def test_a_tokenised_copy_is_found():
    index = index_of_question("Why doesn't Ada's well-known singer sing?")
    assert overlap(index, "So : why does n't Ada 's well-known singer sing ?") == "questions"
    assert overlap(index, "So : why doesnt Adas wellknown singer sing ?") == "questions"
    assert overlap(index, "So : why does Ada sing ?") is None


def test_vowel_signs_belong_to_their_words():
    assert words_of("दिल्ली कहाँ है?") == ["दिल्ली", "कहाँ", "है"]


tokens = st.lists(st.sampled_from("abcd"), max_size=12)


@given(tokens, tokens, st.integers(1, 4))
def test_overlap_is_a_shared_run_of_n_words_or_equal_short_texts(held_out, text, n):
    def runs(sequence):
        if not sequence:
            return set()
        return {tuple(sequence[i : i + n]) for i in range(max(len(sequence) - n, 0) + 1)}

    index = index_of(n, held_out=" ".join(held_out))
    expected = "held_out" if runs(held_out) & runs(text) else None
    assert overlap(index, " ".join(text)) == expected
