"""The forms of the requests: those of vLLM's completions, which `toolformer serve` has too.

    prompt_logprobs: k       at each place of a prompt the given token, and the k likeliest
    logprob_token_ids: [t]   log probability of t behind a prompt, with max_tokens: 1
    return_tokens_as_token_ids
                             sampled tokens as `token_id:504`, beside their log probabilities

Pinned by vllm/entrypoints/openai/completion/protocol.py of vLLM (2026).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from toolformer.errors import ServedModelError
from toolformer.served.answers import (
    ROUNDED_ZERO,
    SEEN,
    Choice,
    Logprobs,
    TokenScore,
    another_answer,
)
from toolformer.served.http_client import CompletionsClient

# As few as all engines take, where the prompt is what is asked about.
_ONE_TOKEN = {"max_tokens": 1, "temperature": 0}
# A server may take these from the model's generation_config.json, and samples would be of another
# distribution than the model's.
_OWN_DISTRIBUTION = {
    "top_p": 1,
    "top_k": 0,
    "min_p": 0,
    "repetition_penalty": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
}


def seed_of(uniform: float) -> int:
    """The seed that a random number in [0, 1) is; those that count up from it have 31 bits too."""
    return int(uniform * 2**30)


class CompletionForms:
    """Asks in these forms, and refuses numbers that are not those of a model of this vocabulary.

    Args:
        ids: token ids are below this.
        has_tools: the server is one of ours, whose completions would call tools.
    """

    def __init__(self, client: CompletionsClient, *, ids: int, has_tools: bool):
        self._client = client
        self._ids = ids
        self._plain: Mapping[str, Any] = {"tools": "off"} if has_tools else _OWN_DISTRIBUTION

    def prompts(
        self, rows: Sequence[Sequence[int]], *, top: int = 0, first: Sequence[int] | None = None
    ) -> list[list[Mapping[int, TokenScore]]]:
        """What is seen at the places of rows: the given token, and so many of the likeliest.

        Args:
            first: of each row the first place that is wanted, from 1; all are by default.

        Returns:
            Shape `(rows, tokens)`, ragged; nothing at places in front of the first.

        Raises:
            ServedModelError: the answer has no such numbers, or is of another prompt.
        """
        asked = {"prompt_logprobs": top, **_ONE_TOKEN}
        choices = self._first_choices([self._request(row, **asked) for row in rows])
        return [
            self._seen(row, choice.prompt_logprobs, top, at)
            for row, choice, at in zip(rows, choices, first or [1] * len(rows), strict=True)
        ]

    def last(self, rows: Sequence[Sequence[int]]) -> list[TokenScore]:
        """What is seen of the last token of each row."""
        all_seen = self.prompts(rows, first=[len(row) - 1 for row in rows])
        return [seen[-1][row[-1]] for row, seen in zip(rows, all_seen, strict=True)]

    def likeliest(self, rows: Sequence[Sequence[int]], count: int) -> list[dict[int, float]]:
        """The likeliest tokens behind each row, at least so many, with their log probabilities.

        Raises:
            ServedModelError: the server tells fewer.
        """
        asked = {"logprobs": count, "return_tokens_as_token_ids": True}
        choices = self._first_choices([self._request(row, **_ONE_TOKEN, **asked) for row in rows])
        all_told = [self._listed(choice) for choice in choices]
        if (fewest := min(map(len, all_told), default=count)) < count:
            raise ServedModelError(
                f"The server at {self._client.url} told {fewest} of the likeliest tokens behind "
                f"a text by their ids. Decoding needs {count}: start `vllm serve` with "
                f"--max-logprobs {count} or more."
            )
        return all_told

    def behind(
        self, rows: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]]
    ) -> list[list[float | None]]:
        """Log probabilities of tokens behind each row; None where the server does not give one."""
        asked = {"logprobs": 1, "return_tokens_as_token_ids": True, **_ONE_TOKEN}
        choices = self._first_choices(
            [
                self._request(row, logprob_token_ids=list(named), **asked)
                for row, named in zip(rows, tokens, strict=True)
            ]
        )
        return [
            [told.get(token) for token in named]
            for told, named in zip(map(self._listed, choices), tokens, strict=True)
        ]

    def samples(
        self,
        rows: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        counts: Sequence[int] | None = None,
        max_new_tokens: int,
        temperature: float,
        top_p: float = 1.0,
        stop_texts: Sequence[str] = (),
    ) -> list[list[list[tuple[int, float]]]]:
        """Samples behind each row: tokens, with their log probabilities at temperature 1.

        Args:
            seeds: of the first sample of each row; those of further ones count up from it.
            counts: samples of each row, one by default: more of a server that the handshake found
                to count so.
            stop_texts: a sample ends with the token that completes one; for a server of which the
                handshake found that it does so.
        """
        asked = {"max_tokens": max_new_tokens, "temperature": temperature, "logprobs": 1}
        asked |= {"return_tokens_as_token_ids": True, "top_p": top_p}
        if stop_texts:
            asked["stop"] = list(stop_texts)
        of_rows = self._client.complete(
            [
                self._request(row, seed=seed, **({"n": count} if count > 1 else {}), **asked)
                for row, seed, count in zip(rows, seeds, counts or [1] * len(rows), strict=True)
            ]
        )
        return [[self._sampled(choice) for choice in choices] for choices in of_rows]

    def _first_choices(self, requests: Sequence[Mapping[str, Any]]) -> list[Choice]:
        return [choices[0] for choices in self._client.complete(requests)]

    def _request(self, row: Sequence[int], **fields: Any) -> dict[str, Any]:
        return {"prompt": list(row), **self._plain, **fields}

    def _seen(
        self, row: Sequence[int], told_places: Sequence[Any] | None, top: int, first: int
    ) -> list[Mapping[int, TokenScore]]:
        if told_places is None or len(told_places) != len(row):
            what = "gives no prompt_logprobs, log probabilities of given tokens, for scoring"
            raise another_answer(self._client.url, what)
        seen: list[Mapping[int, TokenScore]] = [{}] * first
        places = self._client.in_form(told_places[first:], SEEN)
        for token, place in zip(row[first:], places, strict=True):
            told = place or {}
            if token not in told or len(told) < top:
                raise ServedModelError(
                    f"The server at {self._client.url} told {len(told)} tokens at a place of a "
                    f"prompt, {'with' if token in told else 'without'} the given one. Expected it "
                    f"and the {top} likeliest: start `vllm serve` with --max-logprobs {top or 1} "
                    "or more, and without a proxy that mixes answers."
                )
            self._check({each: value.log_probability for each, value in told.items()})
            # So many tokens are as likely or likelier.
            self._check_sum(told[token].rank * math.exp(told[token].log_probability))
            seen.append(told)
        return seen

    def _listed(self, choice: Choice) -> dict[int, float]:
        """What is told of the first token behind a prompt; nothing where that is missing."""
        listed = (choice.logprobs or Logprobs()).top_logprobs or [None]
        told = {**(listed[0] or {})}
        self._check(told)
        return told

    def _sampled(self, choice: Choice) -> list[tuple[int, float]]:
        told = choice.logprobs or Logprobs()
        names, values = told.tokens or [], told.token_logprobs or []
        listed = told.top_logprobs or [None] * len(names)
        # What ended a text at once is a token too, so there is always one.
        if not names or not len(names) == len(values) == len(listed):
            what = f"gave {len(names)} token ids with {len(values)} log probabilities"
            raise another_answer(self._client.url, what)
        for token, value, others in zip(names, values, listed, strict=True):
            place = {token: value, **(others or {})}
            self._check(place)
            if abs(place[token] - value) > ROUNDED_ZERO:
                both = f"{value:g} and {place[token]:g}"
                what = f"told two log probabilities of one token, {both}"
                raise another_answer(self._client.url, what)
        return list(zip(names, values, strict=True))

    def _check(self, told: Mapping[int, float]) -> None:
        """Refuse log probabilities that tokens of one place cannot have together."""
        for wrong in (token for token in told if not 0 <= token < self._ids):
            raise ServedModelError(
                f"The server at {self._client.url} told the token id {wrong}. Expected one of the "
                f"tokenizer's, 0 to {self._ids - 1}: set language_model.path to the folder with "
                "the tokenizer of the model that it runs, and take no proxy that changes answers."
            )
        self._check_sum(sum(map(math.exp, told.values())))

    def _check_sum(self, probability: float) -> None:
        if probability > 1 + ROUNDED_ZERO:
            what = f"told probabilities of tokens of one place that sum to {probability:.4g}"
            raise another_answer(self._client.url, what)
