"""The requests of annotation in the form of vLLM's completions.

    prompt_logprobs: k               the given token at each place of a prompt, and the k likeliest
    return_tokens_as_token_ids       sampled tokens as `token_id:504`

Pinned by vllm/entrypoints/openai/completion/protocol.py of vLLM (2026).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from toolformer.errors import ServedModelError
from toolformer.served.answers import (
    PROMPT_SCORES,
    ROUNDED_ZERO,
    Choice,
    Logprobs,
    TokenScore,
    unexpected_answer,
)
from toolformer.served.http_client import CompletionsClient

# The fewest that all engines accept; the prompt is what is asked about.
_ONE_TOKEN = {"max_tokens": 1, "temperature": 0}
# A server may take these from the model's generation_config.json, and samples would have another
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
    """Return a random number in [0, 1) as a seed of 30 bits, from which others can count up."""
    return int(uniform * 2**30)


class CompletionRequests:
    """Sends requests in these forms, and raises if no model of this vocabulary gives the answer.

    Args:
        ids: number of token ids.
    """

    def __init__(self, client: CompletionsClient, *, ids: int):
        self._client = client
        self._ids = ids

    def prompts(
        self, rows: Sequence[Sequence[int]], *, top: int = 0, first: Sequence[int] | None = None
    ) -> list[list[Mapping[int, TokenScore]]]:
        """Return the scores at the places of rows: of the given token and the `top` likeliest.

        Args:
            first: the first place that is wanted of each row, from 1; by default all are.

        Returns:
            Shape `(rows, tokens)`, ragged; empty mappings before the first place.

        Raises:
            ServedModelError: the answer has no such scores, or belongs to another prompt.
        """
        asked = {"prompt_logprobs": top, **_ONE_TOKEN}
        choices = self._first_choices([self._request(row, **asked) for row in rows])
        return [
            self._seen(row, choice.prompt_logprobs, top, at)
            for row, choice, at in zip(rows, choices, first or [1] * len(rows), strict=True)
        ]

    def last(self, rows: Sequence[Sequence[int]]) -> list[TokenScore]:
        """Return the score of the last token of each row."""
        all_seen = self.prompts(rows, first=[len(row) - 1 for row in rows])
        return [seen[-1][row[-1]] for row, seen in zip(rows, all_seen, strict=True)]

    def likeliest(self, rows: Sequence[Sequence[int]], count: int) -> list[dict[int, float]]:
        """Return the `count` likeliest tokens after each row, or more, with log-probabilities.

        Raises:
            ServedModelError: the server lists fewer.
        """
        asked = {"logprobs": count, "return_tokens_as_token_ids": True}
        choices = self._first_choices([self._request(row, **_ONE_TOKEN, **asked) for row in rows])
        all_listed = []
        for choice in choices:
            listed = ((choice.logprobs or Logprobs()).top_logprobs or [None])[0] or {}
            if len(listed) < count:
                raise ServedModelError(
                    f"The server at {self._client.url} lists {len(listed)} tokens after a text by "
                    f"their ids. Expected the {count} likeliest. Start `vllm serve` with "
                    f"--max-logprobs {count} or more."
                )
            self._check(listed)
            all_listed.append(dict(listed))
        return all_listed

    def samples(
        self,
        rows: Sequence[Sequence[int]],
        seeds: Sequence[int],
        counts: Sequence[int],
        *,
        max_new_tokens: int,
        temperature: float,
        stop_texts: Sequence[str] = (),
    ) -> list[list[list[tuple[int, float]]]]:
        """Return samples after each row: tokens, with their log-probabilities at temperature 1.

        Args:
            seeds: of the first sample of each row; those of the others count up from it.
            counts: number of samples of each row.
            stop_texts: a sample ends with the token that completes one of them.
        """
        asked = {"max_tokens": max_new_tokens, "temperature": temperature, "logprobs": 1}
        asked |= {"return_tokens_as_token_ids": True, "stop": list(stop_texts)}
        of_rows = self._client.complete(
            [
                self._request(row, seed=seed, n=count, **asked)
                for row, seed, count in zip(rows, seeds, counts, strict=True)
            ]
        )
        return [[self._sampled(choice) for choice in choices] for choices in of_rows]

    def _first_choices(self, requests: Sequence[Mapping[str, Any]]) -> list[Choice]:
        return [choices[0] for choices in self._client.complete(requests)]

    def _request(self, row: Sequence[int], **fields: Any) -> dict[str, Any]:
        return {"prompt": list(row), **_OWN_DISTRIBUTION, **fields}

    def _seen(
        self, row: Sequence[int], places: Sequence[Any] | None, top: int, first: int
    ) -> list[Mapping[int, TokenScore]]:
        if places is None or len(places) != len(row):
            what = "gives no prompt_logprobs, log-probabilities of given tokens, for scoring"
            raise unexpected_answer(self._client.url, what)
        seen: list[Mapping[int, TokenScore]] = [{}] * first
        for token, place in zip(
            row[first:], self._client.in_form(places[first:], PROMPT_SCORES), strict=True
        ):
            scores = place or {}
            if token not in scores or len(scores) < top:
                raise ServedModelError(
                    f"The server at {self._client.url} lists {len(scores)} tokens at a place of a "
                    f"prompt, {'with' if token in scores else 'without'} the given one. Expected "
                    f"it and the {top} likeliest. Start `vllm serve` with --max-logprobs "
                    f"{top or 1} or more, and without a proxy that mixes answers."
                )
            self._check({each: score.log_probability for each, score in scores.items()})
            # As many tokens are at least as likely.
            self._check_sum(scores[token].rank * math.exp(scores[token].log_probability))
            seen.append(scores)
        return seen

    def _sampled(self, choice: Choice) -> list[tuple[int, float]]:
        found = choice.logprobs or Logprobs()
        tokens, values = found.tokens or [], found.token_logprobs or []
        # A text that ends at once has the token that ended it.
        if not tokens or len(tokens) != len(values):
            what = f"gave {len(tokens)} token ids with {len(values)} log-probabilities"
            raise unexpected_answer(self._client.url, what)
        likeliest = found.top_logprobs or [None] * len(tokens)
        for token, value, others in zip(tokens, values, likeliest, strict=False):
            self._check({token: value, **(others or {})})
        return list(zip(tokens, values, strict=True))

    def _check(self, scores: Mapping[int, float]) -> None:
        """Raise if tokens of one place cannot have these log-probabilities together."""
        for wrong in (token for token in scores if not 0 <= token < self._ids):
            raise ServedModelError(
                f"The server at {self._client.url} gave the token id {wrong}. Expected one of the "
                f"tokenizer's, 0 to {self._ids - 1}. Set language_model.path to the folder with "
                "the tokenizer of the model that it runs, and use no proxy that changes answers."
            )
        self._check_sum(sum(map(math.exp, scores.values())))

    def _check_sum(self, probability: float) -> None:
        if probability > 1 + ROUNDED_ZERO:
            what = f"gave probabilities of tokens of one place that sum to {probability:.4g}"
            raise unexpected_answer(self._client.url, what)
