"""Vocabularies of every kind: what is fed is what the text has there, and the text comes back."""

import json
import lzma
import random
import shutil
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as BackendTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.fakes import END, START, TOKENIZERS, byte_tokenizer, piece_tokenizer
from toolformer.errors import ModelNotFoundError
from toolformer.forward.chat_template import chat_ids, plain_prompt, plain_template
from toolformer.forward.model_directory import configurations
from toolformer.forward.start_token import end_ids, start_token
from toolformer.forward.tokenization import (
    IncrementalDecoder,
    Tokenizer,
    check_writes_calls,
    load_tokenizer,
)
from toolformer.forward.windows import split_into_windows
from tools.protocol import ToolCall
from tools.syntax import call_pieces

PIECES = call_pieces(ToolCall("Calculator", "6 * 7"), "42")
MADE = {kind: make() for kind, make in TOKENIZERS.items()}
# The last by its tokenizer.json alone: transformers makes rules of its own for `LlamaTokenizer`.
REAL = ("llama2", "gemma3", "qwen3", "gptoss", "llama2 with Prepend")
# Letters with marks apart, jamo, marks that nothing composes with, joined emoji, several scripts.
LETTERS = "aT 1[]()->\n\u0308\u0301\u0323e\u0307\u017f\u1106\u1161\u11af\u1109中मि🌋👩\u200dﬁ½Å"
# "Cn": the Unicode of Python is older than that of the tokenizers.
CHARACTERS = st.sampled_from(LETTERS) | st.characters(exclude_categories=["Cn", "Cs"])
TEXTS = st.text(alphabet=CHARACTERS, max_size=24)

# Texts of many tokens that are a part of a character, and a token that no vocabulary has.
PARTS = (*LETTERS, "\ufffd", "🎉🎉", "日本語", "ሰላም", " the mill", "\n\n")
NO_TOKEN = 10**6


@pytest.fixture(params=MADE)
def each_tokenizer(request) -> Tokenizer:
    return MADE[request.param]


@pytest.fixture(scope="module", params=REAL)
def real_tokenizer(request, test_data, tmp_path_factory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("real")
    source = test_data / "tokenizers" / request.param.partition(" ")[0]
    if " " not in request.param:
        shutil.copy(source / "tokenizer_config.json", folder)
    packed = (source / "tokenizer.json.xz").read_bytes()
    (folder / "tokenizer.json").write_bytes(lzma.decompress(packed))
    return load_tokenizer(folder)


def normal(tokenizer: Tokenizer, text: str) -> str:
    """As it comes back: what stands behind NFC is composed."""
    composes = "NFC" in repr(tokenizer.backend.backend_tokenizer.normalizer)
    return unicodedata.normalize("NFC", text) if composes else text


def assert_call_is_the_text(tokenizer: Tokenizer, before: str, behind: str) -> None:
    fed = [
        *tokenizer.encode(before),
        *tokenizer.encode_pieces(PIECES),
        *tokenizer.encode_continuation(behind),
    ]
    linear = "".join((before, *PIECES, behind))
    assert tokenizer.decode(fed) == normal(tokenizer, before) + "".join(PIECES) + normal(
        tokenizer, behind
    )
    assert "".join(map(tokenizer.token_text, tokenizer.encode_pieces(PIECES))) == "".join(PIECES)
    # Token for token: the first pieces are those of the whole text.
    opened = [*tokenizer.encode(before), *tokenizer.encode_pieces(PIECES[:2])]
    assert tokenizer.encode(linear)[: len(opened)] == opened


def assert_places_are_between_letters(
    tokenizer: Tokenizer, text: str, *, is_continuation: bool
) -> None:
    ids, offsets = tokenizer.encode_with_offsets(text, is_continuation=is_continuation)
    (expected,) = tokenizer.encode_each([text], is_continuation=is_continuation)
    assert ids == expected
    decode = tokenizer.decode_continuation if is_continuation else tokenizer.decode
    for position, offset in enumerate(offsets):
        if offset is None:
            continue
        before, after = normal(tokenizer, text[:offset]), normal(tokenizer, text[offset:])
        assert before + after == normal(tokenizer, text)
        assert decode(ids[:position]) == before
        assert position == 0 or tokenizer.decode_continuation(ids[position:]) == after
    assert not ids or offsets[0] == 0
    places = [offset for offset in offsets if offset is not None]
    assert all(place < next_place for place, next_place in pairwise(places))


@given(before=TEXTS.filter(lambda text: text[:1].strip()), behind=TEXTS)
@example(before="The mill", behind=" stood.\n\nIt fell.")
def test_a_call_in_a_text_comes_back_with_it(before, behind):
    for tokenizer in MADE.values():
        fed = [
            *tokenizer.encode(before),
            *tokenizer.encode_pieces(PIECES),
            *tokenizer.encode_continuation(behind),
        ]
        restored = normal(tokenizer, before) + "".join(PIECES) + normal(tokenizer, behind)
        assert tokenizer.decode(fed) == restored


@pytest.mark.parametrize("before", ["The mill", "6 * 7 is", "橋は 12", "It\nis", "(x)"])
def test_a_call_has_the_tokens_of_its_text(each_tokenizer, before):
    assert_call_is_the_text(each_tokenizer, before, " stood.\n\nIt fell.")


@pytest.mark.slow
@pytest.mark.parametrize("before", ["The mill", "6 * 7 is", "橋は 12", "Zoë", "a (b)"])
def test_a_call_of_a_real_vocabulary_has_the_tokens_of_its_text(real_tokenizer, before):
    assert_call_is_the_text(real_tokenizer, before, " stood.\n\nIt fe\u0301ll 🌉.")


@given(text=TEXTS.filter(lambda text: text[:1].strip()), is_continuation=st.booleans())
@example(text="Thu\u0323c 58, \u1109\u1175\u11af 3 * 4", is_continuation=False)
@example(text="e\u0323\u0301 1", is_continuation=True)
@example(text="\u017f\u0323\u0307 2", is_continuation=True)
@example(text="a\u0308", is_continuation=False)
def test_places_are_between_letters_and_map_back(text, is_continuation):
    for tokenizer in MADE.values():
        assert_places_are_between_letters(tokenizer, text, is_continuation=is_continuation)


@given(text=TEXTS)
@example(text="\u00c0\u20dd")
def test_behind_a_normaliser_every_letter_begins_at_a_place(text):
    tokenizer = MADE["bytes behind NFC"]
    _, offsets = tokenizer.encode_with_offsets(unicodedata.normalize("NFD", text) + " 24")
    composed = unicodedata.normalize("NFC", text) + " 24"
    _, plain = MADE["bytes"].encode_with_offsets(composed)
    # Never fewer than the composed text has, but for marks that are composed with nothing.
    lone = sum(unicodedata.category(character).startswith("M") for character in composed)
    found, expected = (sum(place is not None for place in each) for each in (offsets, plain))
    assert found >= expected - lone
    assert None not in offsets[-3:]


def test_case_of_decomposed_letters_has_places_in_front_of_its_numbers(test_data):
    file = test_data / "cases" / "23-decomposed-letters" / "texts.jsonl"
    tokenizer = MADE["bytes behind NFC"]
    for line in file.read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["text"]
        assert_places_are_between_letters(tokenizer, text, is_continuation=False)
        _, offsets = tokenizer.encode_with_offsets(text)
        numbers = [at for at, c in enumerate(text) if c.isdigit() and not text[at - 1].isdigit()]
        assert set(numbers) <= set(offsets)


@pytest.mark.slow
def test_places_of_real_vocabularies_are_between_letters(real_tokenizer):
    texts = (
        "Fu\u0308r 24 Ko\u0308rbe",
        "\u1109\u1175\u11af 3",
        "न\u093cम 12",
        "A\u030a 👩\u200d👧 5",
    )
    for text in texts:
        for is_continuation in (False, True):
            assert_places_are_between_letters(real_tokenizer, text, is_continuation=is_continuation)
        _, offsets = real_tokenizer.encode_with_offsets(text)
        number = next(at for at, character in enumerate(text) if character.isdigit())
        # Where the space in front is part of the same token, in front of that.
        assert {number, number - 1} & set(offsets)


def windows_of(tokenizer: Tokenizer, text: str, window_tokens: int):
    return list(split_into_windows("text", text, tokenizer, window_tokens=window_tokens))


@pytest.mark.parametrize(
    "text", ["The mill at the bank sold two. " * 4, "a b ça 12 " * 9, "x\ny " * 20]
)
def test_windows_have_the_tokens_of_the_whole_text(each_tokenizer, text):
    windows = windows_of(each_tokenizer, text, 40)
    assert len(windows) > 1
    joined = [token for window in windows for token in window.ids]
    assert joined == each_tokenizer.encode(text)


@pytest.mark.parametrize(
    "text", ["橋は古い石の橋である。" * 6, "e\u0301" * 40, "\u1109\u1175\u11af" * 12]
)
def test_windows_that_begin_within_a_word_have_no_space_more(each_tokenizer, text):
    for window in windows_of(each_tokenizer, text, 24)[1:]:
        assert each_tokenizer.decode_continuation(window.ids) == normal(each_tokenizer, window.text)


def test_line_ends_behind_a_text_are_no_space(each_tokenizer):
    for end in ("\n", "\n\n"):
        ids = each_tokenizer.encode_continuation(end)
        assert each_tokenizer.decode_continuation(ids) == end
        assert each_tokenizer.token_text(ids[0]).startswith("\n")


def test_a_text_comes_back_from_the_texts_of_its_tokens(each_tokenizer):
    text = " The mill (1869) stood. [1] it"
    assert "".join(map(each_tokenizer.token_text, each_tokenizer.encode_continuation(text))) == text


def parts_of(tokenizer: Tokenizer) -> list[int]:
    parts = {token for part in PARTS for token in tokenizer.encode_continuation(part)}
    return sorted({*parts, *tokenizer.special_ids, NO_TOKEN})


def assert_grows_as_decoded(tokenizer: Tokenizer, ids: list[int], *, is_continuation: bool) -> None:
    decode = tokenizer.decode_continuation if is_continuation else tokenizer.decode
    growing, settled = IncrementalDecoder(tokenizer, is_continuation=is_continuation), ""
    for place, token in enumerate(ids, start=1):
        growing.add(token)
        assert growing.text == decode(ids[:place])
        assert growing.text.startswith(settled)
        settled = growing.text[: growing.settled_characters]


@given(st.data(), st.booleans())
def test_the_text_of_tokens_that_come_one_by_one_is_that_of_all(data, is_continuation):
    for tokenizer in MADE.values():
        some, all_of_them = st.sampled_from(parts_of(tokenizer)), tokenizer.vocabulary_size
        ids = data.draw(st.lists(some | st.integers(0, all_of_them), max_size=24))
        assert_grows_as_decoded(tokenizer, ids, is_continuation=is_continuation)


@pytest.mark.slow
def test_the_text_of_tokens_of_a_real_vocabulary_that_come_one_by_one_is_that_of_all(
    real_tokenizer,
):
    chance, some = random.Random(3), parts_of(real_tokenizer)
    for _ in range(300):
        ids = chance.choices(some, k=chance.randint(1, 24))
        ids[chance.randrange(len(ids))] = chance.randrange(real_tokenizer.vocabulary_size)
        assert_grows_as_decoded(real_tokenizer, ids, is_continuation=chance.random() < 0.5)


def made_with(**parts) -> Tokenizer:
    """A byte-level vocabulary with other parts."""
    rules = byte_tokenizer().backend.backend_tokenizer
    for name, part in parts.items():
        setattr(rules, name, part)
    return Tokenizer(
        PreTrainedTokenizerFast(tokenizer_object=rules, bos_token=START, eos_token=END)
    )


def test_a_byte_level_vocabulary_with_a_space_in_front_gives_the_text_back():
    spacing = made_with(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True))
    check_writes_calls(spacing)
    assert spacing.encode("mill") == spacing.encode_continuation(" mill")
    assert_call_is_the_text(spacing, "The mill", " stood.")


@pytest.mark.parametrize(
    ("decoder", "looks_back"),
    [
        # Words that end a text have no space behind them.
        (decoders.BPEDecoder("n"), True),
        (decoders.WordPiece(), True),
        (decoders.Sequence([decoders.Fuse(), decoders.Replace("mi", "")]), True),
        (decoders.Sequence([decoders.Fuse(), decoders.ByteLevel()]), True),
        (None, True),
        (decoders.Sequence([decoders.Metaspace("m"), decoders.Fuse()]), False),
    ],
)
def test_text_that_comes_token_by_token_is_decoded_as_far_back_as_its_decoder_looks(
    decoder, looks_back
):
    tokenizer = made_with(decoder=decoder)
    ids = tokenizer.encode("The mill can mi")
    assert_grows_as_decoded(tokenizer, [*ids, NO_TOKEN, *ids], is_continuation=True)
    assert {tokenizer.divides(token) for token in ids} == {not looks_back}


def test_a_decoder_that_strips_what_the_rules_do_not_put_there_is_put_right():
    tokenizer = piece_tokenizer(None)
    rules = tokenizer.backend.backend_tokenizer
    rules.decoder = decoders.Sequence([rules.decoder, decoders.Strip(" ", 1, 0)])
    stripping = Tokenizer(tokenizer.backend)
    assert stripping.decode(stripping.encode(" mill")) == " mill"


def test_a_unigram_vocabulary_with_a_space_in_front_gives_calls_back():
    pieces = [("<unk>", 0.0), *((chr(code), -3.0) for code in range(33, 127)), ("▁", -2.0)]
    pieces += [("\n", -2.0), ("▁[", -2.5), *((f"<0x{byte:02X}>", -9.0) for byte in range(256))]
    rules = BackendTokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    rules.pre_tokenizer = pre_tokenizers.Metaspace()
    rules.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer = Tokenizer(PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="<unk>"))
    check_writes_calls(tokenizer)
    assert_call_is_the_text(tokenizer, "The mill", " stood.")


@pytest.mark.parametrize(
    ("parts", "lost"),
    [
        ({"normalizer": normalizers.Lowercase()}, "the mill"),
        (
            {"normalizer": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])},
            "ETE",
        ),
        ({"normalizer": normalizers.Replace("]", "")}, "]"),
        ({"normalizer": normalizers.Replace("->", "→")}, "→"),
        ({"normalizer": normalizers.Replace("\n", " ")}, "MILL  "),
        ({"normalizer": normalizers.BertNormalizer(lowercase=False)}, "MILL"),
        (
            {
                "pre_tokenizer": pre_tokenizers.Sequence(
                    [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(False)]
                )
            },
            "MILL",
        ),
        ({"decoder": decoders.WordPiece()}, "M I L L"),
    ],
    ids=["case", "accents", "bracket", "arrow", "line end", "bert", "spaces", "joined by spaces"],
)
def test_a_vocabulary_that_loses_text_is_refused_with_what_it_gives_back(parts, lost):
    with pytest.raises(ModelNotFoundError) as caught:
        check_writes_calls(made_with(**parts))
    assert lost in str(caught.value)
    assert "Use a model" in str(caught.value)


def test_a_vocabulary_without_a_bracket_is_refused_when_its_tokenizer_is_loaded(tmp_path):
    rules = BackendTokenizer(models.BPE(vocab={"a": 0, "▁": 1, "?": 2}, merges=[], unk_token="?"))
    rules.normalizer = normalizers.Replace(" ", "▁")
    PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="?").save_pretrained(tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"decodes .* as "):
        load_tokenizer(tmp_path)


def test_a_vocabulary_that_opens_calls_with_two_tokens_is_refused_with_these():
    with pytest.raises(ModelNotFoundError, match=r"as the tokens ' ', '\['. Expected one token"):
        check_writes_calls(byte_tokenizer(has_opening=False))


def test_every_kind_that_keeps_text_is_taken(each_tokenizer):
    check_writes_calls(each_tokenizer)


@pytest.mark.parametrize(
    ("name", "of_generation", "config", "ends"),
    [
        (
            "gemma3",
            {"eos_token_id": [1, 106]},
            {"text_config": {"vocab_size": 262208}},
            {"<bos>", "<eos>", "<end_of_turn>"},
        ),
        ("qwen3", {"eos_token_id": 151643}, {}, {"<|endoftext|>", "<|im_end|>"}),
        ("llama2", {}, {}, {"<s>", "</s>"}),
        # Of 200,012 tokens <|call|> is none.
        (
            "gptoss",
            {},
            {"eos_token_id": [199999, 200012], "vocab_size": 200012},
            {"<|endoftext|>", "<|return|>"},
        ),
    ],
)
def test_a_text_ends_by_all_tokens_that_are_named_to_end_it(
    name, of_generation, config, ends, test_data, tmp_path
):
    source = test_data / "tokenizers" / name
    shutil.copy(source / "tokenizer_config.json", tmp_path)
    packed = (source / "tokenizer.json.xz").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(lzma.decompress(packed))
    (tmp_path / "generation_config.json").write_text(json.dumps(of_generation))
    (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(tmp_path)
    found = end_ids(tokenizer, start_token(tokenizer, None), configurations(tmp_path))
    assert set(map(tokenizer.token_text, found)) == ends


def test_the_plain_template_of_a_real_vocabulary_writes_what_is_gone_on_with(
    real_tokenizer: Tokenizer,
):
    start = start_token(real_tokenizer, None)
    turns = [
        {"role": "system", "content": " Be brief.\n"},
        {"role": "user", "content": "Is {{ it }} 'six'?\n\n6 times 7 is "},
    ]
    template = plain_template(real_tokenizer, start)
    real_tokenizer.backend.chat_template = template
    ids = chat_ids(real_tokenizer, turns, start=start)
    assert ids == real_tokenizer.encode(plain_prompt(turns))
    # As servers have it, who put no start token in front.
    assert real_tokenizer.backend.apply_chat_template(turns, return_dict=False) == [start, *ids]
