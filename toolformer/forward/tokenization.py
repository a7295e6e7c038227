"""Text to token ids and back, with the places in the text where a call may stand.

Text never becomes a special token, even where it spells one: a crawled document or a tool's answer
must not end a text or open a turn.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.errors import ModelNotFoundError
from toolformer.ground.loading import loading

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as Rules
    from transformers import PreTrainedTokenizerBase

# The class of transformers that does what tokenizer.json says, and nothing besides.
_GENERIC = "TokenizersBackend"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")
# What tokenizer_config.json may say without changing how `_GENERIC` splits a text.
_WITHOUT_EFFECT = {
    *("backend", "tokenizer_class", "is_local", "local_files_only", "model_max_length"),
    *("padding_side", "truncation_side", "clean_up_tokenization_spaces", "chat_template"),
}
# Where older versions of transformers say more of the tokens.
_OLDER_FILES = ("special_tokens_map.json", "added_tokens.json")


def load_tokenizer(directory: Path) -> "Tokenizer":
    """The tokenizer of a model directory, without the model.

    Transformers is imported only for what tokenizer.json alone does not say.

    Raises:
        ModelNotFoundError: its files cannot be used.
    """
    with loading(f"The tokenizer (tokenizer*.json) in {str(directory)!r}", _refused):
        rules = _complete_rules(directory)
        if rules is None:
            return Tokenizer.of(_opened(directory))
        unknown = _config(directory).get("unk_token")
        return Tokenizer(
            rules,
            unknown_id=None if unknown is None else rules.token_to_id(unknown),
            open_backend=partial(_opened, directory),
        )


def _complete_rules(directory: Path) -> "Rules | None":
    """What tokenizer.json says, where transformers would change nothing about it; else None."""
    file, config = directory / "tokenizer.json", _config(directory)
    if (
        config.get("tokenizer_class") != _GENERIC
        or config.keys() - {*_SPECIAL, *_WITHOUT_EFFECT}
        or not file.exists()
        or any((directory / name).exists() for name in _OLDER_FILES)
    ):
        return None
    from tokenizers import Tokenizer as Rules

    rules = Rules.from_file(str(file))
    added = [token.content for token in rules.get_added_tokens_decoder().values()]
    # Transformers adds what tokenizer.json does not have.
    is_complete = all(config.get(name) in (None, *added) for name in _SPECIAL)
    return rules if is_complete else None


def _opened(directory: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of transformers."""
    if _config(directory).get("tokenizer_class") == _GENERIC:
        # What `AutoTokenizer` would take, which imports torch and every model's configuration.
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(directory, local_files_only=True)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)


def _config(directory: Path) -> dict[str, Any]:
    file = directory / "tokenizer_config.json"
    return json.loads(file.read_bytes()) if file.exists() else {}


def _refused(reason: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"{reason}. Expected a tokenizer.json as `save_pretrained` writes it; copy or save the "
        "tokenizer again."
    )


class Tokenizer:
    """A thin wrapper over a tokenizer of the library tokenizers that never adds or drops a token.

    Args:
        rules: how it splits texts.
        unknown_id: the token of what the vocabulary lacks; None where there is none.
        open_backend: gives the same as a tokenizer of transformers.

    Attributes:
        special_ids: tokens that no text becomes.
    """

    def __init__(
        self,
        rules: "Rules",
        *,
        unknown_id: int | None,
        open_backend: "Callable[[], PreTrainedTokenizerBase]",
    ):
        self._rules, self._open_backend = rules, open_backend
        # Unigram models hold special tokens among their pieces, and find them in text all the same:
        # what stands for such a token is the characters of its name.
        self._spelled: dict[int, list[int]] = {}
        names = {
            token: added.content
            for token, added in rules.get_added_tokens_decoder().items()
            if added.special
        }
        self.special_ids = frozenset(names)
        for (token, name), ids in zip(names.items(), self.encode_each(names.values()), strict=True):
            if token in ids and token != unknown_id:
                characters = (rules.token_to_id(character) for character in name)
                spelled = (unknown_id if each is None else each for each in characters)
                self._spelled[token] = [each for each in spelled if each is not None]

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase") -> "Tokenizer":
        """A tokenizer of transformers.

        Raises:
            ModelNotFoundError: it does not tell where its tokens stand in a text.
        """
        if not tokenizer.is_fast:
            raise ModelNotFoundError(
                f"{type(tokenizer).__name__} does not tell where its tokens stand in a text. "
                "Expected a tokenizer with a tokenizer.json, which the library tokenizers runs."
            )
        unknown: Any = tokenizer.unk_token_id
        rules: Any = tokenizer.backend_tokenizer
        return cls(rules, unknown_id=unknown, open_backend=lambda: tokenizer)

    @cached_property
    def backend(self) -> "PreTrainedTokenizerBase":
        """The tokenizer of transformers, for what the library tokenizers does not do."""
        return self._open_backend()

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens and without truncation."""
        return self.encode_each([text])[0]

    def encode_each(self, texts: Iterable[str]) -> list[list[int]]:
        """The same of several texts, faster than one by one."""
        return [self._spelled_out(encoded.ids) for encoded in self._encoded(list(texts))]

    def encode_pieces(self, pieces: Iterable[str]) -> list[int]:
        """Ids of separately encoded pieces, concatenated.

        Separately, so that a closing bracket is always the same token, whatever stands before it
        (the vocabulary has `)]` as one token).
        """
        return [token for piece in pieces for token in self.encode(piece)]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[int | None]]:
        """Token ids, and for each position the character offset at which its token begins.

        Returns:
            Two lists of length `n`. The offset is None where the token begins inside a character
            (byte-level vocabularies split characters such as emoji): no call can stand there.
        """
        (encoded,) = self._encoded([text])
        spans = encoded.offsets
        ids = self._spelled_out(encoded.ids)
        if len(ids) == len(spans) and _spans_tile(spans, len(text)):
            begins = [0, *(end for _, end in spans)]
            return ids, [
                begin if start == begin else None
                for begin, (start, _) in zip(begins, spans, strict=False)
            ]
        return ids, self._offsets_by_decoding(ids, text)

    def _encoded(self, texts: list[str]) -> "list[Encoding]":
        # `backend` shares these rules, and sets them as each call of it wants. They can be set only
        # while no other thread encodes.
        if not self._rules.encode_special_tokens:
            self._rules.encode_special_tokens = True
        if self._rules.truncation is not None:
            self._rules.no_truncation()
        if self._rules.padding is not None:
            self._rules.no_padding()
        return self._rules.encode_batch(texts, add_special_tokens=False)

    def _spelled_out(self, ids: Iterable[int]) -> list[int]:
        return [part for token in ids for part in self._spelled.get(token, (token,))]

    def _offsets_by_decoding(self, ids: list[int], text: str) -> list[int | None]:
        """The slow way, for tokenizers whose offsets leave out spaces."""
        offsets: list[int | None] = []
        for position in range(len(ids)):
            decoded = self.decode(ids[:position])
            # Part of a character is decoded to the replacement character, which the text may hold.
            is_whole = text.startswith(decoded) and not decoded.endswith("\ufffd")
            offsets.append(len(decoded) if is_whole else None)
        return offsets

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens included, spaces as they are."""
        return self._rules.decode(list(ids), skip_special_tokens=False)

    def token_text(self, token: int) -> str:
        """The text of one token; parts of characters come out as the replacement character."""
        if token not in self._token_texts:
            self._token_texts[token] = self.decode([token])
        return self._token_texts[token]

    @cached_property
    def _token_texts(self) -> dict[int, str]:
        return {}

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, special ones included."""
        return self._rules.get_vocab_size(with_added_tokens=True)


def _spans_tile(spans: Sequence[tuple[int, int]], length: int) -> bool:
    """Whether the spans cover the text without a gap; tokens may share one character."""
    end_before = 0
    for start, end in spans:
        shares_character = end == end_before and start == end - 1
        widens_shared = start == end_before - 1 and end > end_before
        if not (start == end_before or shares_character or widens_shared):
            return False
        end_before = end
    return end_before == length
