"""Finds the tokens that start and end texts, and checks that the model knows the vocabulary."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from toolformer.errors import ModelNotFoundError
from toolformer.forward.tokenization import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def start_token(tokenizer: Tokenizer, bos_token: str | None) -> int:
    """Return the token to prepend to texts, or raise ModelNotFoundError.

    It is `bos_token`, or what the tokenizer prepends, or `<|endoftext|>`, or the tokenizer's
    beginning- or end-of-text token. A tokenizer must not prepend several tokens.
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
        added = "its start token twice" if len(set(tokenizer.start_ids)) == 1 else "several tokens"
        raise ModelNotFoundError(
            f"The tokenizer adds {added} before a text ({named}). Expected at most one, as in "
            "training. Correct post_processor in tokenizer.json or add_bos_token in "
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
        "The tokenizer defines no beginning-of-text or end-of-text token. Set "
        "language_model.bos_token to the token to put before texts."
    )


def end_ids(
    tokenizer: Tokenizer, bos_id: int, configurations: Iterable[Mapping[str, Any]]
) -> frozenset[int]:
    """Return the start token and all tokens that end a text; chat models have several."""
    parts = [part for each in configurations for part in (each, each.get("text_config") or {})]
    all_named: list[Any] = [tokenizer.backend.eos_token_id]
    all_named += [part.get("eos_token_id") for part in parts]
    ids = {bos_id}
    for named in all_named:
        tokens = named if isinstance(named, list) else [] if named is None else [named]
        if not all(isinstance(token, int) for token in tokens):
            raise ModelNotFoundError(
                f"eos_token_id is {named!r} in the model's generation_config.json or config.json. "
                "Expected the id of the token that ends a text, or a list of ids."
            )
        ids.update(tokens)
    # A tokenizer may have more special tokens than its model.
    size = min((part["vocab_size"] for part in parts if part.get("vocab_size")), default=None)
    return frozenset(token for token in ids if size is None or token < size)


def check_vocabulary(
    tokenizer: Tokenizer, bos_id: int | None, config: "PreTrainedConfig", name: str
) -> None:
    """Raise `ModelNotFoundError` if the model has no embedding for a token of the tokenizer."""
    size = config.get_text_config(decoder=True).vocab_size
    # Text never becomes a special token. So only the start token among the special tokens needs an
    # embedding.
    beyond = {
        token: text
        for text, token in tokenizer.backend.get_vocab().items()
        if token >= size and (token == bos_id or token not in tokenizer.special_ids)
    }
    if beyond:
        raise ModelNotFoundError(
            f"The tokenizer.json of {name!r} has a token with id {max(beyond)} "
            f"({beyond[max(beyond)]!r}), but the model has only {size} tokens (vocab_size in its "
            "config.json). Use the tokenizer that the model was trained with."
        )
