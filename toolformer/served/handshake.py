"""What a server can do, found out before anything is computed with it.

A server that adds a token, has another vocabulary or changes probabilities would fill tables with
wrong numbers and no error. So a text is asked about in several ways, whose answers must agree.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from toolformer.errors import NoAnswersError, ServedModelError
from toolformer.forward.model import TOLD_RANKS
from toolformer.forward.tokenization import Tokenizer
from toolformer.served.answers import TokenScore
from toolformer.served.completion_forms import CompletionForms
from toolformer.served.http_client import CompletionsClient
from tools.syntax import CALL_OPEN

_LOGGER = logging.getLogger(__name__)
_PROBE = (
    "The old mill stands at the bridge. It was built in 1869, burned down twice, and has 42 "
    "windows, of which 12 look to the north side of the river."
)
# Where the model does not say how much it takes.
_DEFAULT_CONTEXT = 2048
# Rounding of 16 bits moves a token's log probability by a tenth of this; a temperature of 2, other
# logarithms and unnormalised numbers move it by several times as much.
_MAX_DIFFERENCE = 0.25
_SAMPLED_TOKENS, _TEMPERATURE = 8, 2.0
# More samples of one place are asked for by several requests.
_SAMPLES_AT_ONCE = 8
_NOISE_ROWS = 32
_Told = TypeVar("_Told")


@dataclass(frozen=True, slots=True)
class ServerCapabilities:
    """A server that can be annotated with.

    Attributes:
        precision: as it says, else `unknown`.
        top: so many of the likeliest tokens it tells at the places of a prompt.
        lists_tokens: it tells the log probability of a token that is named.
        noise: standard deviation of a token's loss when the same is asked again in another order.
        stops_samples: it ends samples at stop texts, and tells the token that completes one.
        samples_at_once: so many samples one request may ask for, and they are those of as many
            requests.
    """

    forms: CompletionForms
    context_length: int
    precision: str
    top: int
    lists_tokens: bool
    noise: float
    stops_samples: bool
    samples_at_once: int


def server_capabilities(
    client: CompletionsClient, tokenizer: Tokenizer, bos_id: int
) -> ServerCapabilities:
    """Look at a server, and tell in the log what it can do.

    Raises:
        ServedModelError: what it lacks, and the flag that mends it.
    """
    card = client.described()
    length = card.max_model_len or (card.toolformer and card.toolformer.context_length)
    if length is None:
        length = _DEFAULT_CONTEXT
        _LOGGER.warning("the server tells no max_model_len: taken as %d", length)
    vocabulary = tokenizer.backend.get_vocab().values()
    forms = CompletionForms(client, ids=max(vocabulary) + 1, has_tools=card.toolformer is not None)
    row = [bos_id, *tokenizer.encode(_PROBE)]
    last = max(set(vocabulary) - tokenizer.special_ids)
    _check_vocabulary(client, forms, row, last)
    sampled = _check_raw(client, forms, row)
    (opening,) = tokenizer.encode_behind(CALL_OPEN)
    ranks = _asked(lambda: forms.prompts([row], top=TOLD_RANKS))
    found = ServerCapabilities(
        forms,
        length,
        card.dtype or "unknown",
        0 if isinstance(ranks, ServedModelError) else TOLD_RANKS,
        _lists_tokens(forms, row, opening),
        _noise(forms, row),
        _stops_samples(forms, row, sampled, tokenizer),
        _samples_at_once(forms, row, sampled),
    )
    client.is_known()
    _LOGGER.info(
        "the served model %s at %s: %s, a context of %d tokens, noise of %.2g nats a token",
        client.model,
        client.url,
        found.precision,
        found.context_length,
        found.noise,
    )
    return found


def _check_vocabulary(
    client: CompletionsClient, forms: CompletionForms, row: Sequence[int], last: int
) -> None:
    """Refuse another vocabulary than the tokenizer's, as far as the server spells tokens out."""
    mend = (
        "Set language_model.path to the folder with the tokenizer of the model that "
        f"{client.model!r} is."
    )
    with_last = _asked(lambda: forms.prompts([[*row, last]]))
    without = _asked(lambda: forms.prompts([row]))
    if isinstance(with_last, ServedModelError):
        if isinstance(without, ServedModelError):
            raise with_last
        raise ServedModelError(
            f"The tokenizer has the token {last}, and the server refuses it: {with_last} {mend}"
        ) from with_last
    if isinstance(without, ServedModelError):
        raise without
    (told,) = without
    spelled = "".join(
        place[token].decoded_token or "" for token, place in zip(row[1:], told[1:], strict=True)
    )
    if spelled and _letters(spelled) != _letters(_PROBE):
        raise ServedModelError(
            f"The server reads {client.shown(spelled[:40])!r} where {_PROBE[:40]!r} was sent: its "
            f"vocabulary is not the tokenizer's. {mend}"
        )


def _letters(text: str) -> str:
    """What all vocabularies spell alike; how they write spaces differs."""
    return "".join(character for character in text if character.isascii() and character.isalnum())


def _check_raw(client: CompletionsClient, forms: CompletionForms, row: Sequence[int]) -> list[int]:
    """Refuse log probabilities of samples that are not those of the prompt.

    Returns:
        The sample behind the whole row, with the seed 1.
    """
    rows = [row[:end] for end in (len(row) // 2, len(row))]
    samples = [sample for (sample,) in _sampled(forms, rows, range(len(rows)))]
    seen = forms.prompts(
        [
            [*before, *(token for token, _ in tokens)]
            for before, tokens in zip(rows, samples, strict=True)
        ]
    )
    differences = [
        abs(value - places[len(before) + index][token].log_probability)
        for before, tokens, places in zip(rows, samples, seen, strict=True)
        for index, (token, value) in enumerate(tokens)
    ]
    mean = sum(differences) / max(1, len(differences))
    if not mean <= _MAX_DIFFERENCE:
        raise ServedModelError(
            f"The server at {client.url} gives sampled tokens other log probabilities than the "
            f"same tokens of a prompt, by {mean:.2f} on average. Expected those of the model "
            "itself, before temperature: start `vllm serve` with --logprobs-mode raw_logprobs."
        )
    return [token for token, _ in samples[-1]]


def _stops_samples(
    forms: CompletionForms, row: Sequence[int], sampled: Sequence[int], tokenizer: Tokenizer
) -> bool:
    """Whether the same sample ends with the token that completes a stop text, and not before it.

    Some engines leave out what belongs to the stop text: of a call the bracket would be missing.
    """
    texts = [tokenizer.token_text(token) for token in sampled]
    for at, text in enumerate(texts[:-1]):
        if text.isascii() and text.strip() and text not in "".join(texts[:at]):
            break
    else:
        return False

    told = _asked(lambda: _sampled(forms, [row], [1], stop_texts=[text]))
    if isinstance(told, ServedModelError):
        return False
    return [token for token, _ in told[0][0]] == sampled[: at + 1]


def _samples_at_once(forms: CompletionForms, row: Sequence[int], sampled: Sequence[int]) -> int:
    """How many samples one request may ask for: more than one if their seeds count up."""
    together = _asked(lambda: _sampled(forms, [row], [1], counts=[_SAMPLES_AT_ONCE]))
    if isinstance(together, ServedModelError):
        return 1
    alone = _sampled(forms, [row, row], [2, _SAMPLES_AT_ONCE])
    expected = [list(sampled), *([token for token, _ in sample] for (sample,) in alone)]
    (first, second, *_, last) = [[token for token, _ in sample] for sample in together[0]]
    return _SAMPLES_AT_ONCE if [first, second, last] == expected else 1


def _sampled(
    forms: CompletionForms, rows: Sequence[Sequence[int]], seeds: Sequence[int], **asked: Any
) -> list[list[list[tuple[int, float]]]]:
    return forms.samples(
        rows, seeds, max_new_tokens=_SAMPLED_TOKENS, temperature=_TEMPERATURE, **asked
    )


def _asked(ask: Callable[[], _Told]) -> _Told | ServedModelError:
    """What the server tells, or why it cannot; no answer settles nothing."""
    try:
        return ask()
    except NoAnswersError:
        raise
    except ServedModelError as error:
        return error


def _lists_tokens(forms: CompletionForms, row: Sequence[int], token: int) -> bool:
    """Whether the server tells the log probability of a token that is named, and the right one."""
    behind = _asked(lambda: forms.behind([row], [[token]]))
    if isinstance(behind, ServedModelError):
        return False
    (expected,), ((told,),) = forms.prompts([[*row, token]]), behind
    return told is not None and abs(told - expected[-1][token].log_probability) <= _MAX_DIFFERENCE


def _noise(forms: CompletionForms, row: Sequence[int]) -> float:
    """Standard deviation of a token's loss between two orders of the same rows."""
    # No two have the same beginning, so that none is spared by a cache of the other.
    rows = [[*row[:1], *row[1 + turn :], *row[1 : 1 + turn]] for turn in range(_NOISE_ROWS)]
    first, second = forms.prompts(rows), forms.prompts(rows[::-1])[::-1]

    def losses(all_seen: Sequence[Sequence[Mapping[int, TokenScore]]]) -> list[float]:
        return [
            seen[at][token].log_probability
            for tokens, seen in zip(rows, all_seen, strict=True)
            for at, token in enumerate(tokens)
            if at
        ]

    differences = [a - b for a, b in zip(losses(first), losses(second), strict=True)]
    # Of the difference of two equally noisy numbers.
    return math.sqrt(sum(each * each for each in differences) / len(differences) / 2)
