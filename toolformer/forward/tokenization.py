"""Text to token ids and back, with the places in the text where a call may stand.

Text never becomes a special token, even where it spells one: a crawled document or a tool's answer
must not end a text or open a turn. Does not add special tokens and does not know the call syntax.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.errors import ModelNotFoundError
from toolformer.ground.loading import loading

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The class of transformers that does what tokenizer.json says, and nothing besides.
_GENERIC = "TokenizersBackend"


def load_tokenizer(directory: Path) -> "Tokenizer":
    """The tokenizer of a model directory, without the model.

    Raises:
        ModelNotFoundError: its files cannot be used.
    """
    with loading(f"The tokenizer (tokenizer*.json) in {str(directory)!r}", _refused):
        if _class_name(directory) == _GENERIC:
            # What `AutoTokenizer` would take, which imports torch and every model's configuration.
            from transformers import PreTrainedTokenizerFast

            return Tokenizer(
                PreTrainedTokenizerFast.from_pretrained(directory, local_files_only=True)
            )
        from transformers import AutoTokenizer

        return Tokenizer(
            AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
        )


def _class_name(directory: Path) -> str | None:
    """The class that a tokenizer was saved by; None where its files do not say."""
    file = directory / "tokenizer_config.json"
    return json.loads(file.read_bytes()).get("tokenizer_class") if file.exists() else None


def _refused(reason: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"{reason}. Expected a tokenizer.json as `save_pretrained` writes it; copy or save the "
        "tokenizer again."
    )


class Tokenizer:
    """A thin wrapper over a Hugging Face tokenizer that never adds or drops a token.

    Attributes:
        special_ids: tokens that no text becomes.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase"):
        if not tokenizer.is_fast:
            raise ModelNotFoundError(
                f"{type(tokenizer).__name__} does not tell where its tokens stand in a text. "
                "Expected a tokenizer with a tokenizer.json, which the library tokenizers runs."
            )
        self.backend = tokenizer
        # Unigram models hold special tokens among their pieces, and find them in text all the same:
        # what stands for such a token is the characters of its name.
        self._spelled: dict[int, list[int]] = {}
        names = {
            token: added.content
            for token, added in tokenizer.added_tokens_decoder.items()
            if added.special
        }
        self.special_ids = frozenset(names)
        for (token, name), ids in zip(names.items(), self.encode_each(names.values()), strict=True):
            if token in ids and token != tokenizer.unk_token_id:
                characters: Any = tokenizer.convert_tokens_to_ids(list(name))
                self._spelled[token] = characters

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens and without truncation."""
        return self.encode_each([text])[0]

    def encode_each(self, texts: Iterable[str]) -> list[list[int]]:
        """The same of several texts, faster than one by one."""
        batch = list(texts)
        if not batch:  # transformers refuses it
            return []
        return [self._spelled_out(ids) for ids in self._encoded(batch)["input_ids"]]

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
        encoded = self._encoded([text], with_offsets=True)
        spans: list[tuple[int, int]] = encoded["offset_mapping"][0]
        ids = self._spelled_out(encoded["input_ids"][0])
        if len(ids) == len(spans) and _spans_tile(spans, len(text)):
            begins = [0, *(end for _, end in spans)]
            return ids, [
                begin if start == begin else None
                for begin, (start, _) in zip(begins, spans, strict=False)
            ]
        return ids, self._offsets_by_decoding(ids, text)

    def _encoded(self, texts: list[str], *, with_offsets: bool = False) -> Any:
        return self.backend(
            texts,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=with_offsets,
            verbose=False,
        )

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
        text = self.backend.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text if isinstance(text, str) else "".join(text)

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
        return len(self.backend)


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
