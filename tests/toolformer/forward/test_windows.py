import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import TOKENIZERS
from toolformer.forward.windows import split_into_windows

ALPHABET = st.sampled_from("aCQAl  []()->é中🌋\n") | st.characters(codec="utf-8")
TEXTS = st.text(alphabet=ALPHABET, max_size=120)


def split(tokenizer, text, window_tokens):
    return list(split_into_windows("document", text, tokenizer, window_tokens=window_tokens))


@settings(deadline=None)
@given(text=TEXTS, window_tokens=st.integers(1, 40))
def test_windows_tile_the_text_and_are_at_most_as_long_as_asked(tokenizer, text, window_tokens):
    windows = split(tokenizer, text, window_tokens)
    assert "".join(window.text for window in windows) == text
    assert [window.index for window in windows] == list(range(len(windows)))
    assert {window.document_id for window in windows} <= {"document"}
    start = 0
    for window in windows:
        assert window.start == start
        assert window.text
        start += len(window.text)
        # A single character can have more tokens than the smallest windows.
        assert len(window.ids) <= window_tokens or len(window.text) == 1


@settings(deadline=None)
@given(text=TEXTS, window_tokens=st.integers(4, 40))
def test_tokens_are_those_of_the_windows_text_and_positions_map_back_to_the_whole(
    tokenizer, text, window_tokens
):
    for window in split(tokenizer, text, window_tokens):
        assert list(window.ids) == tokenizer.encode(window.text)
        assert tokenizer.decode(window.ids) == window.text
        assert len(window.offsets) == len(window.ids)
        assert window.offsets[0] == 0
        for position, offset in enumerate(window.offsets):
            if offset is not None:
                before = text[window.start : window.start + offset]
                assert tokenizer.decode(window.ids[:position]) == before


@settings(deadline=None)
@given(
    words=st.lists(st.text(alphabet="abé", min_size=1, max_size=5), min_size=1, max_size=60),
    window_tokens=st.integers(48, 64),
)
def test_a_text_of_short_words_is_cut_before_spaces_only(tokenizer, words, window_tokens):
    windows = split(tokenizer, " ".join(words), window_tokens)
    assert all(window.text.startswith(" ") for window in windows[1:])
    # Then the tokens of the windows are the tokens of the text.
    joined = [token for window in windows for token in window.ids]
    assert joined == tokenizer.encode(" ".join(words))


def test_a_window_is_at_least_three_quarters_full(tokenizer):
    windows = split(tokenizer, "abcdefghi " * 50, 40)
    assert all(len(window.ids) >= 30 for window in windows[:-1])


def test_a_window_does_not_depend_on_what_lies_far_behind_it(tokenizer):
    text = "The bakery sold bread. " * 3
    alone = split(tokenizer, text + "x" * 500, 32)[0]
    # Nor is that read.
    far = text + "y z" * 300_000
    assert next(split_into_windows("document", far, tokenizer, window_tokens=32)) == alone


@pytest.mark.parametrize(
    ("text", "window_tokens"), [("The mill sold bread. ", 64), ("The mill sold bread. " * 40, 32)]
)
def test_each_window_of_a_text_of_words_takes_one_tokenisation(
    tokenizer, monkeypatch, text, window_tokens
):
    encoded, encode = [], tokenizer.encode_with_offsets
    monkeypatch.setattr(
        tokenizer,
        "encode_with_offsets",
        lambda text, *, is_continuation: (
            encoded.append(text) or encode(text, is_continuation=is_continuation)
        ),
    )
    windows = split(tokenizer, text, window_tokens)
    assert len(encoded) == len(windows)
    # The end of what was tokenised for a window is no more than a word.
    assert len("".join(encoded)) < len(text) + 8 * len(windows)


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize(
    "text",
    [
        "The mill (1869)  sold 1,200 bags.\n\nIt was\tits last: \u00c9te\u0301 🌉 ended! " * 4,
        "Donaudampfschifffahrt" * 9 + " the mill" * 30 + " \n" * 30,
    ],
)
def test_windows_have_the_tokens_that_their_text_has_alone(kind, text):
    tokenizer = TOKENIZERS[kind]()
    for window in split(tokenizer, text, 24):
        ids, offsets = tokenizer.encode_with_offsets(window.text, is_continuation=window.start > 0)
        assert (list(window.ids), list(window.offsets)) == (ids, offsets)


class LastCharacterCostsTwo:
    """A tokenizer whose count grows by cutting: one token per character, two for the last one."""

    def encode_with_offsets(self, text, *, is_continuation):
        ids = [ord(character) for character in text]
        return ids + ids[-1:], [*range(len(text)), None][: len(ids) + 1]


def test_a_window_that_grows_by_cutting_is_cut_again():
    windows = list(
        split_into_windows("document", "abcdefghijk", LastCharacterCostsTwo(), window_tokens=4)
    )
    assert [window.text for window in windows] == ["abc", "def", "ghi", "jk"]
    assert all(len(window.ids) <= 4 for window in windows)
