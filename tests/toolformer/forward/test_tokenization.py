from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as BackendTokenizer
from tokenizers import decoders, models, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from tests.fakes import END, START, byte_tokenizer
from toolformer.errors import ModelNotFoundError
from toolformer.forward.tokenization import Tokenizer, load_tokenizer

TEXTS = st.text(
    alphabet=st.sampled_from("aCQAl [()]->é…中🌋\u200d\ufffd\n\t") | st.characters(codec="utf-8"),
    max_size=30,
)


@pytest.fixture(scope="module")
def trimming_tokenizer() -> Tokenizer:
    """Its own offsets leave out spaces, as some published tokenizers' do."""
    backend = byte_tokenizer().backend
    backend.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return Tokenizer(backend)


@given(text=TEXTS)
def test_only_positions_inside_a_character_have_no_offset(tokenizer, text):
    ids, offsets = tokenizer.encode_with_offsets(text)
    bytes_so_far, edges = 0, {0: 0}
    for place, character in enumerate(text, start=1):
        bytes_so_far += len(character.encode())
        edges[bytes_so_far] = place
    # One byte for each single-byte token, as many as its text is long for a merged one.
    begin = 0
    for token, offset in zip(ids, offsets, strict=True):
        assert offset == edges.get(begin)
        begin += max(1, len(tokenizer.token_text(token).encode("ascii", errors="ignore")))


@given(text=TEXTS)
@example(text="a\ufffd [b")
def test_offsets_of_a_tokenizer_that_leaves_out_spaces_are_exact(
    tokenizer, trimming_tokenizer, text
):
    assert trimming_tokenizer.encode_with_offsets(text) == tokenizer.encode_with_offsets(text)


def test_a_closing_bracket_is_the_same_token_behind_any_piece(tokenizer):
    (bracket,) = tokenizer.encode("]")
    assert tokenizer.encode_pieces(["(1)", "]"])[-1] == bracket
    assert tokenizer.encode("(1)]")[-1] != bracket


def unigram_tokenizer() -> Tokenizer:
    """Has its special tokens among the pieces that it finds in texts."""
    pieces = [
        (START, 0.0),
        (END, 0.0),
        ("<unk>", 0.0),
        *((each, -2.0) for each in "▁ab<|>_tofexndim"),
    ]
    backend = BackendTokenizer(models.Unigram(pieces, unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return Tokenizer(
        PreTrainedTokenizerFast(
            tokenizer_object=backend, bos_token=START, eos_token=END, unk_token="<unk>"
        )
    )


@pytest.mark.parametrize("made", [byte_tokenizer, unigram_tokenizer])
def test_special_tokens_that_a_text_spells_are_text(made):
    tokenizer, text = made(), f"ab{END}b{START}"
    ids, offsets = tokenizer.encode_with_offsets(text)
    assert not {0, 1} & set(ids)
    assert tokenizer.encode(text) == tokenizer.encode_each([text])[0] == ids
    for position, offset in enumerate(offsets):
        # None between the space in front of a text, as a token of its own, and its first letter.
        assert offset is None or tokenizer.decode(ids[:position]) == text[:offset]
    assert tokenizer.decode([*ids, 1]) == text + END


def test_a_tokenizer_that_does_not_tell_places_is_refused():
    with pytest.raises(ModelNotFoundError, match="ByT5Tokenizer"):
        Tokenizer(ByT5Tokenizer())


@pytest.mark.model
def test_a_generic_tokenizer_is_the_one_that_transformers_would_choose(embedded_model_path: Path):
    from transformers import AutoTokenizer

    chosen = AutoTokenizer.from_pretrained(embedded_model_path, local_files_only=True)
    loaded = load_tokenizer(embedded_model_path)
    assert type(loaded.backend) is type(chosen)
    assert loaded.backend.get_vocab() == chosen.get_vocab()
    assert loaded.encode("Out of 1400, [400] – naïve 漢字") == Tokenizer(chosen).encode(
        "Out of 1400, [400] – naïve 漢字"
    )
