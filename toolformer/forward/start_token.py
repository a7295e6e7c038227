"""Which token stands in front of a text, which end it, and whether the model has them all."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from toolformer.errors import ModelNotFoundError
from toolformer.forward.tokenization import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def start_token(tokenizer: Tokenizer, bos_token: str | None) -> int:
    """The token to put in front of scored texts.

    Args:
        bos_token: text of the token that the settings name; by default the one that the tokenizer
            itself puts there. Where it puts none, `<|endoftext|>` if the vocabulary has it, else
            the tokenizer's own.

    Raises:
        ModelNotFoundError: there is none, or the tokenizer puts several there.
    """
    backend = tokenizer.backend
    vocabulary = backend.get_vocab()
    if bos_token is not None:
        if bos_token not in vocabulary:
            raise ModelNotFoundError(
                f"The token {bos_token!r} (language_model.bos_token) is not in the model's "
                "vocabulary. Leave it empty to use the tokenizer's own."
            )
        return vocabulary[bos_token]
    if len(tokenizer.start_ids) > 1:
        named = ", ".join(map(tokenizer.token_text, tokenizer.start_ids))
        twice = "its start token twice" if len(set(tokenizer.start_ids)) == 1 else "several tokens"
        raise ModelNotFoundError(
            f"The tokenizer adds {twice} in front of a text ({named}), and models are trained with "
            "one or none. Correct post_processor in tokenizer.json or add_bos_token in "
            "tokenizer_config.json, or set language_model.bos_token."
        )
    if tokenizer.start_ids:
        return tokenizer.start_ids[0]
    if "<|endoftext|>" in vocabulary:
        return vocabulary["<|endoftext|>"]
    for token_id in (backend.bos_token_id, backend.eos_token_id):
        if isinstance(token_id, int):
            return token_id
    raise ModelNotFoundError(
        "The tokenizer names no beginning- or end-of-text token. Set language_model.bos_token."
    )


def end_ids(
    tokenizer: Tokenizer, bos_id: int, configurations: Iterable[Mapping[str, Any]]
) -> frozenset[int]:
    """Tokens after which nothing follows: all that are named to end texts, and the start token.

    A tokenizer names one, and models of chats end by others besides.

    Args:
        configurations: what generation_config.json and config.json hold, as far as they are there.

    Raises:
        ModelNotFoundError: what one of them names is no token.
    """
    parts = [part for each in configurations for part in (each, each.get("text_config") or {})]
    all_named: list[Any] = [tokenizer.backend.eos_token_id]
    all_named += [part.get("eos_token_id") for part in parts]
    ids = {bos_id}
    for named in all_named:
        tokens = named if isinstance(named, list) else [] if named is None else [named]
        if not all(isinstance(token, int) for token in tokens):
            raise ModelNotFoundError(
                f"eos_token_id is {named!r} in the model's generation_config.json or config.json. "
                "Expected the number of the token that ends a text, or a list of numbers."
            )
        ids.update(tokens)
    # A tokenizer may have more special tokens than its model.
    size = min((part["vocab_size"] for part in parts if part.get("vocab_size")), default=None)
    return frozenset(token for token in ids if size is None or token < size)


def check_vocabulary(
    tokenizer: Tokenizer, bos_id: int | None, config: "PreTrainedConfig", name: str
) -> None:
    """Refuse a tokenizer with a token that the model has no embedding of.

    Raises:
        ModelNotFoundError: names the token.
    """
    size = config.get_text_config(decoder=True).vocab_size
    # Special tokens never come from text, and a checkpoint may have more of them than it feeds.
    beyond = {
        token: text
        for text, token in tokenizer.backend.get_vocab().items()
        if token >= size and (token == bos_id or token not in tokenizer.special_ids)
    }
    if beyond:
        raise ModelNotFoundError(
            f"The tokenizer.json of {name!r} has the token {max(beyond)} "
            f"({beyond[max(beyond)]!r}), and the model only {size} (vocab_size in its "
            "config.json). Expected the tokenizer that it was trained with."
        )
