"""Text to token ids and back, with the places in the text where a call may stand.

Text never becomes a special token, even where it spells one: a crawled document or a tool's answer
must not end a text or open a turn.

Vocabularies of SentencePiece's kind put a space in front of a text, and leave it out when they give
the text back. What stands behind other text has no such space:

    beginning   "The mill"   ▁The ▁mill
    behind it   " [QA("      ▁[ QA (        not  ▁ ▁[ QA (
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

# The class of transformers that does what tokenizer.json says, and nothing besides.
_GENERIC = "TokenizersBackend"
_LETTER = regex.compile(r"\X")
# A character has at most four bytes, so it is spread over at most four tokens.
MAX_TOKENS_PER_CHARACTER = 4
REPLACEMENT_CHARACTER = "\N{REPLACEMENT CHARACTER}"
# The steps of decoders that join tokens within characters alone. Others may look further.
_DIVIDING = regex.compile(
    "(Replace |Metaspace )*(ByteFallback |ByteLevel )?(Replace |Metaspace |Fuse )*"
)
# What every vocabulary is tried on.
_BEGINNING, _END = "The MILL", " ended."
# Both forms of an accented letter, behind the pieces of a call with a result.
_PARTS = (
    *call_pieces(ToolCall("Calculator", "(6 - 4) * 21"), "42"),
    *(" 1869, it", "\n", "\n\n", " \u00c9T\u00c9", " e\u0301te\u0301", " 橋", " 🌉", " [1]"),
)


def load_tokenizer(directory: Path) -> "Tokenizer":
    """The tokenizer of a model directory, without the model.

    Raises:
        ModelNotFoundError: its files cannot be used, or its vocabulary cannot write calls.
    """
    prepare_transformers()
    file = directory / "tokenizer_config.json"
    with loading(f"The tokenizer (tokenizer*.json) in {str(directory)!r}", _refused):
        config = json.loads(file.read_bytes()) if file.exists() else {}
        if config.get("tokenizer_class") == _GENERIC:
            # What `AutoTokenizer` would take, which imports torch and every model's configuration.
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
        f"{reason}. Expected a tokenizer.json as `save_pretrained` writes it; copy or save the "
        "tokenizer again."
    )


class Tokenizer:
    """A thin wrapper over a tokenizer of the library tokenizers that never adds or drops a token.

    Attributes:
        backend: the same as a tokenizer of transformers, for what the library does not do.
        special_ids: tokens that no text becomes.
        encodes_continuations_alike: whether texts have the same tokens at the beginning and after
            other text.
        prefix: what `decode_continuation` puts in front of the text that `decode` gives.

    Raises:
        ModelNotFoundError: it does not tell where its tokens stand in a text.
    """

    def __init__(self, backend: "PreTrainedTokenizerBase"):
        if not backend.is_fast:
            raise ModelNotFoundError(
                f"{type(backend).__name__} does not tell where its tokens stand in a text. "
                "Expected a tokenizer with a tokenizer.json, which the library tokenizers runs."
            )
        self.backend = backend
        own: Any = backend.backend_tokenizer
        parts = own.normalizer, own.pre_tokenizer, own.decoder
        behind = _parts_behind(*parts)
        self._behind: Any = _rules(own, *behind)
        self.encodes_continuations_alike = behind[:2] == parts[:2]
        self._beginning: Any = (
            self._behind if self.encodes_continuations_alike else _rules(own, *parts)
        )
        self._token_texts: dict[int, str] = {}
        self._divides = behind[2] is not None and bool(
            _DIVIDING.fullmatch(_decoding_steps(json.loads(behind[2].__getstate__())))
        )
        # Unigram models hold special tokens among their pieces, and find them in text all the same:
        # what stands for such a token is the characters of its name.
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
        """What the tokenizer itself puts in front of a text: often nothing, else a start token."""
        bare, whole = self.encode("a"), self.backend.encode("a")
        starts = (at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
        return tuple(whole[: next(starts, 0)])

    def encode(self, text: str) -> list[int]:
        """Token ids of a text from its beginning, without special tokens and truncation."""
        return self.encode_each([text])[0]

    def encode_continuation(self, text: str) -> list[int]:
        """Token ids of a text that stands behind other text."""
        return self.encode_each([text], is_continuation=True)[0]

    def encode_each(
        self, texts: Iterable[str], *, is_continuation: bool = False
    ) -> list[list[int]]:
        """The same of several texts, faster than one by one."""
        rules = self._behind if is_continuation else self._beginning
        encoded = rules.encode_batch(list(texts), add_special_tokens=False)
        return [self._spelled_out(each.ids) for each in encoded]

    def encode_pieces(self, pieces: Iterable[str]) -> list[int]:
        """Ids of separately encoded pieces that stand behind other text, concatenated.

        Separately, so that a closing bracket is always the same token, whatever stands before it
        (the vocabulary has `)]` as one token).
        """
        return [token for ids in self.encode_each(pieces, is_continuation=True) for token in ids]

    def encode_with_offsets(
        self, text: str, *, is_continuation: bool = False
    ) -> tuple[list[int], list[int | None]]:
        """Token ids, and for each position the character offset at which its token begins.

        Args:
            is_continuation: whether the text stands behind other text.

        Returns:
            Two lists of length `n`. The offset is None where the token begins inside a character
            (byte-level vocabularies split characters such as emoji), or inside a letter that the
            vocabulary's normaliser composes or takes apart: no call can stand there.
        """
        rules = self._behind if is_continuation else self._beginning
        encoded = rules.encode(text, add_special_tokens=False)
        inside = self._inside_letters(text)
        ids: list[int] = []
        offsets: list[int | None] = []
        begin = end = -1
        for token, (start, stop) in zip(encoded.ids, encoded.offsets, strict=True):
            parts = self._spelled.get(token, (token,))
            width = 1 if len(parts) == stop - start else 0
            for place, part in enumerate(parts):
                # The first place is the text's beginning, though its first character left no token.
                at = start + width * place if ids else 0
                is_place = at >= end and at > begin and at not in inside
                begin = at if is_place else begin
                offsets.append(at if is_place else None)
                ids.append(part)
                end = max(end, at + 1 if width else stop)
        return ids, offsets

    def _inside_letters(self, text: str) -> set[int]:
        """The offsets inside of letters of several characters that the normaliser changes."""
        normaliser = self._behind.normalizer
        if normaliser is None or text.isascii():
            return set()
        return {
            offset
            for letter in _LETTER.finditer(text)
            if letter.end() - letter.start() > 1
            and normaliser.normalize_str(letter.group()) != letter.group()
            for offset in range(letter.start() + 1, letter.end())
        }

    def _spelled_out(self, ids: list[int]) -> list[int]:
        if not self._spelled:
            return ids
        return [part for token in ids for part in self._spelled.get(token, (token,))]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` from its beginning, special tokens included."""
        return self.decode_continuation(ids).removeprefix(self.prefix)

    def decode_continuation(self, ids: Sequence[int]) -> str:
        """The text of `ids` that stand behind others, all spaces kept, special tokens included."""
        return self._behind.decode(list(ids), skip_special_tokens=False)

    def token_text(self, token: int) -> str:
        """The text of a token behind others; a part of a character is the replacement character."""
        if token not in self._token_texts:
            self._token_texts[token] = self.decode_continuation([token])
        return self._token_texts[token]

    def divides(self, token: int) -> bool:
        """Whether the text of tokens divides in front of this one, but within a character.

        Where it does, and the token by itself has the text that it adds, nothing behind it changes
        the text in front. A run of bytes of SentencePiece's kind does not divide: it is decoded as
        a whole, and has no character where one byte is wrong.
        """
        name = self._behind.id_to_token(token) or ""
        is_byte = name.startswith("<0x") and name.endswith(">") and len(name) == len("<0x00>")
        return self._divides and not is_byte and self.token_text(token) != ""

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, special ones included."""
        return self._behind.get_vocab_size(with_added_tokens=True)


class IncrementalDecoder:
    """At each token the text that `Tokenizer.decode` or `decode_continuation` gives of all so far.

    Only the tokens since the last place at which that text divides are decoded again: those of a
    character, and those of a run of bytes in vocabularies of SentencePiece's kind.
    """

    def __init__(self, tokenizer: Tokenizer, *, is_continuation: bool):
        self.tokens: list[int] = []
        self._tokenizer = tokenizer
        self._prefix = "" if is_continuation else tokenizer.prefix
        self._settled = ""
        # The tokens behind what is settled, and their text.
        self._open: list[int] = []
        self._tail = ""

    @property
    def text(self) -> str:
        """The text so far."""
        return (self._settled + self._tail).removeprefix(self._prefix)

    @property
    def settled_characters(self) -> int:
        """How many characters of `text` no further token changes."""
        return len(self._settled.removeprefix(self._prefix))

    def add(self, token: int) -> None:
        """Add a token."""
        self.tokens.append(token)
        self._open.append(token)
        before, self._tail = self._tail, self._tokenizer.decode_continuation(self._open)
        if self._tokenizer.divides(token) and (
            self._tail == before + self._tokenizer.token_text(token)
        ):
            self._settled += before
            self._open, self._tail = [token], self._tail[len(before) :]


def check_writes_calls(tokenizer: Tokenizer) -> None:
    """Write letters, digits, brackets, line ends and a call behind a text, and read them back.

    A normaliser may compose letters or take them apart, and write compatible ones for others.

    Raises:
        ModelNotFoundError: another text comes back, or a call is not opened by one token, whose
            probability is p_i.
    """
    for parts in (*((part,) for part in _PARTS), _PARTS):
        pieces = (*parts, _END)
        text = "".join((_BEGINNING, *pieces))
        back = tokenizer.decode([*tokenizer.encode(_BEGINNING), *tokenizer.encode_pieces(pieces)])
        if unicodedata.normalize("NFKC", back) != unicodedata.normalize("NFKC", text):
            raise ModelNotFoundError(
                f"The model's vocabulary (tokenizer.json) gives {back!r} back for {text!r}. Calls "
                "are written into texts and read out of them, so the same text was expected. Use a "
                "model whose vocabulary keeps letters, accents, spaces, brackets and line ends."
            )
    opening = [tokenizer.token_text(token) for token in tokenizer.encode_continuation(CALL_OPEN)]
    if len(opening) != 1:
        raise ModelNotFoundError(
            f"The model's vocabulary (tokenizer.json) writes {CALL_OPEN!r}, which opens a call, as "
            f"the tokens {', '.join(map(repr, opening))}. Expected one token. Use a model whose "
            f"vocabulary has {CALL_OPEN!r}, as those of GPT-2, Llama, Qwen and Gemma do."
        )


def _rules(own: Any, normaliser: Any, pre_tokenizer: Any, decoder: Any) -> Any:
    """Rules with the same vocabulary, which is not copied, that find no special token in a text.

    Without the post-processor: some of them leave spaces out of the offsets.
    """
    rules = type(own)(own.model)
    rules.normalizer, rules.pre_tokenizer = normaliser, pre_tokenizer
    if decoder is not None:
        rules.decoder = decoder
    added = own.get_added_tokens_decoder()
    rules.add_tokens([added[token] for token in sorted(added)])
    rules.encode_special_tokens = True
    return rules


def _parts_behind(normaliser: Any, pre_tokenizer: Any, decoder: Any) -> tuple[Any, Any, Any]:
    """Normaliser, pre-tokenizer and decoder as they act on text that stands behind other text."""
    return (
        _changed(normaliser, {"Prepend": None, "Strip": None}),
        _changed(
            pre_tokenizer,
            {"Metaspace": {"prepend_scheme": "never"}, "ByteLevel": {"add_prefix_space": False}},
        ),
        _changed(decoder, {"Metaspace": {"prepend_scheme": "never"}, "Strip": None}),
    )


def _changed(part: Any, changes: dict[str, dict[str, object] | None]) -> Any:
    """A component with other values in those of some types, or without them; itself if it has none.

    A component of the library is a tree of JSON; only the library reads it back.
    """
    if part is None:
        return None
    before = json.loads(part.__getstate__())
    after = _changed_state(before, changes)
    if after == before:
        return part
    if after is None:
        return None
    made = copy.deepcopy(part)
    made.__setstate__(json.dumps(after).encode())
    return made


def _decoding_steps(state: dict[str, Any]) -> str:
    """The types of a decoder's steps; `Replace` only where it replaces single characters."""
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
