"""Text to token ids and back, with the places in the text where a call may stand.

Text never becomes a special token, even where it spells one: a crawled document or a tool's answer
must not end a text or open a turn.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.errors import ModelNotFoundError
from toolformer.files.loading import loading, prepare_transformers

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

# The class of transformers that does what tokenizer.json says, and nothing besides.
_GENERIC = "TokenizersBackend"


def load_tokenizer(directory: Path) -> "Tokenizer":
    """The tokenizer of a model directory, without the model.

    Raises:
        ModelNotFoundError: its files cannot be used.
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
        return Tokenizer(
            Opener.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
        )


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
        self._rules: Any = backend.backend_tokenizer
        self._token_texts: dict[int, str] = {}
        # Unigram models hold special tokens among their pieces, and find them in text all the same:
        # what stands for such a token is the characters of its name.
        self._spelled: dict[int, list[int]] = {}
        names = {
            token: added.content
            for token, added in self._rules.get_added_tokens_decoder().items()
            if added.special
        }
        self.special_ids = frozenset(names)
        unknown: Any = backend.unk_token_id
        for (token, name), ids in zip(names.items(), self.encode_each(names.values()), strict=True):
            if token in ids and token != unknown:
                spelled = map(self._rules.token_to_id, name)
                known = (unknown if character is None else character for character in spelled)
                self._spelled[token] = [character for character in known if character is not None]

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
