"""Encodes text to token ids and back, with the character offsets at which a call may be inserted.

Text never becomes a special token, even if it spells one: a document must not be able to end itself
or open a turn. SentencePiece-like vocabularies add a prefix space to a text, and remove it when
decoding. A continuation must not get one:

    beginning      "The mill"   ▁The ▁mill
    continuation   " [QA("      ▁[ QA (        not  ▁ ▁[ QA (
"""

import copy
import json
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import regex

from toolformer.base.loading import loading, prepare_transformers
from toolformer.errors import ModelNotFoundError
from tools.protocol import ToolCall
from tools.syntax import CALL_OPEN, call_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Class of transformers that only applies tokenizer.json.
_GENERIC = "TokenizersBackend"
_GRAPHEME = regex.compile(r"\X")
# A character has at most four bytes, so it is split into at most four tokens.
MAX_TOKENS_PER_CHARACTER = 4
REPLACEMENT_CHARACTER = "\N{REPLACEMENT CHARACTER}"
# Steps of decoders that merge tokens only within characters. Other steps may look further.
_SPLITTABLE_DECODER = regex.compile(
    "(Replace |Metaspace )*(ByteFallback |ByteLevel )?(Replace |Metaspace |Fuse )*"
)
# Texts on which every vocabulary is tested.
_BEGINNING, _END = "The MILL", " ended."
# The pieces of a call with a result; then, among others, both forms of an accented letter.
_SAMPLES = (
    *call_pieces(ToolCall("Calculator", "(6 - 4) * 21"), "42"),
    *(" 1869, it", "\n", "\n\n", " \u00c9T\u00c9", " e\u0301te\u0301", " 橋", " 🌉", " [1]"),
)


def load_tokenizer(directory: Path) -> "Tokenizer":
    """Load the tokenizer of a model directory, or raise ModelNotFoundError if it is unusable."""
    prepare_transformers()
    file = directory / "tokenizer_config.json"
    with loading(f"The tokenizer (tokenizer*.json) in {str(directory)!r}", _refused):
        config = json.loads(file.read_bytes()) if file.exists() else {}
        if config.get("tokenizer_class") == _GENERIC:
            # `AutoTokenizer` would choose this class, but imports torch and all configurations.
            from transformers import PreTrainedTokenizerFast as Opener
        else:
            from transformers import AutoTokenizer as Opener
        tokenizer = Tokenizer(
            Opener.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
        )
    check_writes_calls(tokenizer)
    return tokenizer


def _refused(reason: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"{reason}. Expected a tokenizer.json as `save_pretrained` writes it. Copy or save the "
        "tokenizer again."
    )


class Tokenizer:
    """Wrapper of a fast tokenizer that never adds or drops a token.

    `encodes_continuations_alike`: whether texts have the same tokens when they continue others.
    `prefix`: the prefix space that `decode` removes and `decode_continuation` keeps; may be empty.
    """

    def __init__(self, backend: "PreTrainedTokenizerBase"):
        if not backend.is_fast:
            raise ModelNotFoundError(
                f"{type(backend).__name__} does not report the offsets of its tokens in a text. "
                "Expected a fast tokenizer with a tokenizer.json."
            )
        self.backend = backend
        own: Any = backend.backend_tokenizer
        components = own.normalizer, own.pre_tokenizer, own.decoder
        continuing = _continuation_components(*components)
        self._continuation: Any = _plain_copy(own, *continuing)
        self.encodes_continuations_alike = continuing[:2] == components[:2]
        self._beginning: Any = (
            self._continuation
            if self.encodes_continuations_alike
            else _plain_copy(own, *components)
        )
        self._token_texts: dict[int, str] = {}
        self._is_splittable = continuing[2] is not None and bool(
            _SPLITTABLE_DECODER.fullmatch(_decoding_steps(json.loads(continuing[2].__getstate__())))
        )
        # Unigram models list special tokens among their pieces, and therefore find them in text
        # anyway. Such a token is replaced by the characters of its name.
        self._spelled: dict[int, list[int]] = {}
        names = {
            token: added.content
            for token, added in own.get_added_tokens_decoder().items()
            if added.special
        }
        self.special_ids = frozenset(names)
        unknown: Any = backend.unk_token_id
        for (token, name), ids in zip(names.items(), self.encode_each(names.values()), strict=True):
            if token in ids and token != unknown:
                spelled = map(own.token_to_id, name)
                known = (unknown if character is None else character for character in spelled)
                self._spelled[token] = [character for character in known if character is not None]
        self.prefix = " " if self.encode("a") != self.encode_continuation("a") else ""

    @cached_property
    def start_ids(self) -> tuple[int, ...]:
        """Tokens that the tokenizer itself prepends to a text: often none, else a start token."""
        bare, whole = self.encode("a"), self.backend.encode("a")
        starts = (at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
        return tuple(whole[: next(starts, 0)])

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without start token, special tokens and truncation."""
        return self.encode_each([text])[0]

    def encode_continuation(self, text: str) -> list[int]:
        """Return the token ids of a text that continues another text."""
        return self.encode_each([text], is_continuation=True)[0]

    def encode_each(
        self, texts: Iterable[str], *, is_continuation: bool = False
    ) -> list[list[int]]:
        rules = self._continuation if is_continuation else self._beginning
        encoded = rules.encode_batch(list(texts), add_special_tokens=False)
        return [self._spelled_out(each.ids) for each in encoded]

    def encode_pieces(self, pieces: Iterable[str]) -> list[int]:
        """Encode pieces of a continuation separately, so that `]` is always the same token."""
        return [token for ids in self.encode_each(pieces, is_continuation=True) for token in ids]

    def encode_with_offsets(
        self, text: str, *, is_continuation: bool = False
    ) -> tuple[list[int], list[int | None]]:
        """Return token ids and, per token, its character offset; None if no call can precede it.

        That is so if the token begins inside a character (as in split emoji) or inside a letter
        that the normaliser composes or decomposes.
        """
        rules = self._continuation if is_continuation else self._beginning
        encoded = rules.encode(text, add_special_tokens=False)
        inside = self._offsets_inside_graphemes(text)
        ids: list[int] = []
        offsets: list[int | None] = []
        begin = end = -1
        for token, (start, stop) in zip(encoded.ids, encoded.offsets, strict=True):
            pieces = self._spelled.get(token, (token,))
            width = 1 if len(pieces) == stop - start else 0
            for index, piece in enumerate(pieces):
                # The first offset is 0 even if the first characters yield no token.
                at = start + width * index if ids else 0
                is_boundary = at >= end and at > begin and at not in inside
                begin = at if is_boundary else begin
                offsets.append(at if is_boundary else None)
                ids.append(piece)
                end = max(end, at + 1 if width else stop)
        return ids, offsets

    def _offsets_inside_graphemes(self, text: str) -> set[int]:
        """Return the offsets inside multi-character graphemes that the normaliser changes."""
        normaliser = self._continuation.normalizer
        if normaliser is None or text.isascii():
            return set()
        return {
            offset
            for grapheme in _GRAPHEME.finditer(text)
            if grapheme.end() - grapheme.start() > 1
            and normaliser.normalize_str(grapheme.group()) != grapheme.group()
            for offset in range(grapheme.start() + 1, grapheme.end())
        }

    def _spelled_out(self, ids: list[int]) -> list[int]:
        if not self._spelled:
            return ids
        return [piece for token in ids for piece in self._spelled.get(token, (token,))]

    def decode(self, ids: Sequence[int]) -> str:
        return self.decode_continuation(ids).removeprefix(self.prefix)

    def decode_continuation(self, ids: Sequence[int]) -> str:
        """Return the text of ids that continue others, with all spaces and special tokens."""
        return self._continuation.decode(list(ids), skip_special_tokens=False)

    def token_text(self, token: int) -> str:
        """Return the text of a token after others; U+FFFD if it is part of a character."""
        if token not in self._token_texts:
            self._token_texts[token] = self.decode_continuation([token])
        return self._token_texts[token]

    def divides(self, token: int) -> bool:
        """Return whether decoding can be split before this token, except inside a character.

        Then later tokens do not change the text before it, if it appends exactly its own text. Runs
        of byte tokens in SentencePiece-like vocabularies are decoded as a whole and do not split.
        """
        name = self._continuation.id_to_token(token) or ""
        is_byte = name.startswith("<0x") and name.endswith(">") and len(name) == len("<0x00>")
        return self._is_splittable and not is_byte and self.token_text(token) != ""

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, including special tokens."""
        return self._continuation.get_vocab_size(with_added_tokens=True)


class IncrementalDecoder:
    """Decodes tokens one by one; only incomplete characters and runs of bytes are decoded again."""

    def __init__(self, tokenizer: Tokenizer, *, is_continuation: bool):
        self.tokens: list[int] = []
        self._tokenizer = tokenizer
        self._prefix = "" if is_continuation else tokenizer.prefix
        self._settled = ""
        # Tokens after the settled text, and their text.
        self._open: list[int] = []
        self._tail = ""

    @property
    def text(self) -> str:
        return (self._settled + self._tail).removeprefix(self._prefix)

    @property
    def settled_characters(self) -> int:
        """Number of leading characters of `text` that later tokens cannot change."""
        return len(self._settled.removeprefix(self._prefix))

    def add(self, token: int) -> None:
        self.tokens.append(token)
        self._open.append(token)
        before, self._tail = self._tail, self._tokenizer.decode_continuation(self._open)
        if self._tokenizer.divides(token) and (
            self._tail == before + self._tokenizer.token_text(token)
        ):
            self._settled += before
            self._open, self._tail = [token], self._tail[len(before) :]


def check_writes_calls(tokenizer: Tokenizer) -> None:
    """Raise ModelNotFoundError if encoding changes calls or common characters, up to NFKC."""
    for samples in (*((sample,) for sample in _SAMPLES), _SAMPLES):
        pieces = (*samples, _END)
        text = "".join((_BEGINNING, *pieces))
        decoded = tokenizer.decode(
            [*tokenizer.encode(_BEGINNING), *tokenizer.encode_pieces(pieces)]
        )
        if unicodedata.normalize("NFKC", decoded) != unicodedata.normalize("NFKC", text):
            raise ModelNotFoundError(
                f"The model's vocabulary (tokenizer.json) decodes {text!r} as {decoded!r}. "
                "Expected the same text, because calls are written into texts and read from them. "
                "Use a model whose vocabulary keeps letters, accents, spaces, brackets and line "
                "ends."
            )
    opening = [tokenizer.token_text(token) for token in tokenizer.encode_continuation(CALL_OPEN)]
    if len(opening) != 1:
        raise ModelNotFoundError(
            f"The model's vocabulary (tokenizer.json) writes {CALL_OPEN!r}, which opens a call, as "
            f"the tokens {', '.join(map(repr, opening))}. Expected one token. Use a model whose "
            f"vocabulary contains {CALL_OPEN!r}, such as GPT-2, Llama, Qwen or Gemma."
        )


def _plain_copy(own: Any, normaliser: Any, pre_tokenizer: Any, decoder: Any) -> Any:
    """Return a tokenizer that finds no special tokens, and whose offsets include spaces."""
    rules = type(own)(own.model)
    rules.normalizer, rules.pre_tokenizer = normaliser, pre_tokenizer
    if decoder is not None:
        rules.decoder = decoder
    added = own.get_added_tokens_decoder()
    rules.add_tokens([added[token] for token in sorted(added)])
    rules.encode_special_tokens = True
    return rules


def _continuation_components(
    normaliser: Any, pre_tokenizer: Any, decoder: Any
) -> tuple[Any, Any, Any]:
    """Return the components configured for a continuation, without prefix space."""
    return (
        _changed(normaliser, {"Prepend": None, "Strip": None}),
        _changed(
            pre_tokenizer,
            {"Metaspace": {"prepend_scheme": "never"}, "ByteLevel": {"add_prefix_space": False}},
        ),
        _changed(decoder, {"Metaspace": {"prepend_scheme": "never"}, "Strip": None}),
    )


def _changed(component: Any, changes: dict[str, dict[str, object] | None]) -> Any:
    """Return a component with fields changed by type of subcomponent; None removes the type."""
    if component is None:
        return None
    before = json.loads(component.__getstate__())
    after = _changed_state(before, changes)
    if after == before:
        return component
    if after is None:
        return None
    changed = copy.deepcopy(component)
    changed.__setstate__(json.dumps(after).encode())
    return changed


def _decoding_steps(state: dict[str, Any]) -> str:
    """Return the types of a decoder's steps; `Replaces` if one replaces several characters."""
    if state["type"] == "Sequence":
        return "".join(map(_decoding_steps, state["decoders"]))
    if state["type"] == "Replace" and len(state["pattern"].get("String", "")) != 1:
        return "Replaces texts "
    return state["type"] + " "


def _changed_state(state: Any, changes: dict[str, dict[str, object] | None]) -> Any:
    if isinstance(state, list):
        changed = [_changed_state(each, changes) for each in state]
        return [each for each in changed if each is not None]
    if not isinstance(state, dict):
        return state
    change = changes.get(state.get("type", ""), {})
    if change is None:
        return None
    return {name: _changed_state(value, changes) for name, value in state.items()} | change
