"""Probes a completion server before it is used for annotation.

A server that adds a token, has another vocabulary or changes log-probabilities would silently fill
tables with wrong numbers. So the probe scores one text in several ways and compares the answers.
"""

import logging
from collections.abc import Sequence

from toolformer.errors import ServedModelError, ServerUnavailableError
from toolformer.forward.model import REPORTED_RANKS
from toolformer.forward.tokenization import Tokenizer
from toolformer.served.answers import Card
from toolformer.served.completion_requests import CompletionRequests
from toolformer.served.http_client import CompletionsClient

_LOGGER = logging.getLogger(__name__)
_PROBE = (
    "The old mill stands at the bridge. It was built in 1869, burned down twice, and has 42 "
    "windows, of which 12 look to the north side of the river."
)
# Maximum mean absolute difference in nats. Rounding to 16 bits shifts log-probabilities by about a
# tenth of this; a temperature of 2, another logarithm base or unnormalised scores by far more.
_MAX_DIFFERENCE = 0.25
_SAMPLED_TOKENS, _TEMPERATURE = 8, 2.0


def check_server(
    client: CompletionsClient, tokenizer: Tokenizer, bos_id: int
) -> tuple[CompletionRequests, Card]:
    """Probe a server; return a sender of requests, and what the server reports of the model."""
    card = client.model_card()
    vocabulary = tokenizer.backend.get_vocab().values()
    forms = CompletionRequests(client, ids=max(vocabulary) + 1)
    row = [bos_id, *tokenizer.encode(_PROBE)]
    _check_vocabulary(client, forms, row, max(set(vocabulary) - tokenizer.special_ids))
    _check_samples(client, forms, row)
    client.extend_patience()
    _LOGGER.info("The server at %s runs the model %s: %s", client.url, client.model, card)
    return forms, card


def _check_vocabulary(
    client: CompletionsClient, forms: CompletionRequests, row: Sequence[int], last: int
) -> None:
    """Raise if the server's vocabulary differs; servers need not report the text of tokens."""
    remedy = f"Set language_model.path to the folder with the tokenizer of {client.model!r}."
    (scores,) = forms.prompts([row], top=REPORTED_RANKS)
    decoded = "".join(
        each[token].decoded_token or "" for token, each in zip(row[1:], scores[1:], strict=True)
    )
    if decoded and _letters(decoded) != _letters(_PROBE):
        raise ServedModelError(
            f"The vocabulary of the server differs from the tokenizer's. The server decodes the "
            f"tokens of {_PROBE[:40]!r} as {client.shown(decoded[:40])!r}. {remedy}"
        )
    try:
        forms.prompts([[*row, last]])
    except ServerUnavailableError:
        raise
    except ServedModelError as error:
        raise ServedModelError(
            f"The tokenizer contains the token {last}, but the server refuses it: {error} {remedy}"
        ) from error


def _letters(text: str) -> str:
    # Vocabularies differ in how they write spaces.
    return "".join(character for character in text if character.isascii() and character.isalnum())


def _check_samples(
    client: CompletionsClient, forms: CompletionRequests, row: Sequence[int]
) -> None:
    """Raise if samples are equal, or if their log-probabilities differ from those of prompts."""
    (samples,) = forms.samples(
        [row], [1], [2], max_new_tokens=_SAMPLED_TOKENS, temperature=_TEMPERATURE
    )
    texts = [[token for token, _ in sample] for sample in samples]
    if texts[0] == texts[1]:
        raise ServedModelError(
            f"The server at {client.url} returned the same sample twice at temperature "
            f"{_TEMPERATURE}. Expected two different ones. Use an engine that gives each sample of "
            "a request a seed of its own, such as vLLM."
        )
    all_scores = forms.prompts([[*row, *text] for text in texts])
    differences = [
        abs(value - scores[len(row) + at][token].log_probability)
        for sample, scores in zip(samples, all_scores, strict=True)
        for at, (token, value) in enumerate(sample)
    ]
    mean = sum(differences) / len(differences)
    if not mean <= _MAX_DIFFERENCE:
        raise ServedModelError(
            f"The server at {client.url} reports log-probabilities of sampled tokens that differ "
            f"from those of the same tokens in a prompt by {mean:.2f} on average. Expected the "
            "model's own, before temperature. Start `vllm serve` with --logprobs-mode "
            "raw_logprobs."
        )
