"""Probes a completion server before it is used for annotation.

A server that adds a token, has another vocabulary or changes log-probabilities would fill tables
with wrong numbers and raise no error. So it is asked about one text in several ways, and the
answers must agree.
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
# Mean absolute difference in nats. Rounding to 16 bits moves a token's log-probability by a tenth
# of this; a temperature of 2, other logarithms and unnormalised numbers by several times as much.
_MAX_DIFFERENCE = 0.25
_SAMPLED_TOKENS, _TEMPERATURE = 8, 2.0


def check_server(
    client: CompletionsClient, tokenizer: Tokenizer, bos_id: int
) -> tuple[CompletionRequests, Card]:
    """Probe a server, and return how it is asked and what it reports of the model.

    Raises:
        ServedModelError: names what the server lacks, and the flag that helps.
    """
    card = client.model_card()
    vocabulary = tokenizer.backend.get_vocab().values()
    forms = CompletionRequests(client, ids=max(vocabulary) + 1)
    row = [bos_id, *tokenizer.encode(_PROBE)]
    _check_vocabulary(client, forms, row, max(set(vocabulary) - tokenizer.special_ids))
    _check_samples(client, forms, row)
    client.extend_patience()
    _LOGGER.info("the served model %s at %s: %s", client.model, client.url, card)
    return forms, card


def _check_vocabulary(
    client: CompletionsClient, forms: CompletionRequests, row: Sequence[int], last: int
) -> None:
    """Raise if the vocabulary is not the tokenizer's, as far as the server spells tokens out."""
    remedy = (
        "Set language_model.path to the folder with the tokenizer of the model that "
        f"{client.model!r} is."
    )
    (seen,) = forms.prompts([row], top=REPORTED_RANKS)
    spelled = "".join(
        place[token].decoded_token or "" for token, place in zip(row[1:], seen[1:], strict=True)
    )
    if spelled and _letters(spelled) != _letters(_PROBE):
        raise ServedModelError(
            f"The server reads {client.shown(spelled[:40])!r} where {_PROBE[:40]!r} was sent: its "
            f"vocabulary is not the tokenizer's. {remedy}"
        )
    try:
        forms.prompts([[*row, last]])
    except ServerUnavailableError:
        raise
    except ServedModelError as error:
        raise ServedModelError(
            f"The tokenizer has the token {last}, and the server refuses it: {error} {remedy}"
        ) from error


def _letters(text: str) -> str:
    """Return what all vocabularies spell alike; they write spaces differently."""
    return "".join(character for character in text if character.isascii() and character.isalnum())


def _check_samples(
    client: CompletionsClient, forms: CompletionRequests, row: Sequence[int]
) -> None:
    """Raise if samples have other log-probabilities than prompts, or are all the same."""
    (samples,) = forms.samples(
        [row], [1], [2], max_new_tokens=_SAMPLED_TOKENS, temperature=_TEMPERATURE
    )
    texts = [[token for token, _ in sample] for sample in samples]
    if texts[0] == texts[1]:
        raise ServedModelError(
            f"The server at {client.url} was asked for 2 samples at temperature {_TEMPERATURE} and "
            "gave the same one twice. Expected different ones. Use an engine that counts up the "
            "seeds of a request's samples, such as vLLM."
        )
    seen = forms.prompts([[*row, *text] for text in texts])
    differences = [
        abs(value - places[len(row) + at][token].log_probability)
        for sample, places in zip(samples, seen, strict=True)
        for at, (token, value) in enumerate(sample)
    ]
    mean = sum(differences) / len(differences)
    if not mean <= _MAX_DIFFERENCE:
        raise ServedModelError(
            f"The server at {client.url} gives sampled tokens other log-probabilities than the "
            f"same tokens of a prompt, by {mean:.2f} on average. Expected those of the model "
            "itself, before temperature. Start `vllm serve` with --logprobs-mode raw_logprobs."
        )
