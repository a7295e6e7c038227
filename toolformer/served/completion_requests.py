"""Sends the requests of annotation as vLLM completions, and checks the answers.

    prompt_logprobs: k               scores of each prompt token and of the k most likely tokens
    return_tokens_as_token_ids       sampled tokens as `token_id:504`

The format follows vllm/entrypoints/openai/completion/protocol.py of vLLM (2026).
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

# Scoring a prompt needs no new token, but some engines require at least one.
_ONE_TOKEN = {"max_tokens": 1, "temperature": 0}
# Neutral values, because a server may take others from the model's generation_config.json. Samples
# would then not follow the model's own distribution.
_NEUTRAL_SAMPLING = {
    "top_p": 1,
    "top_k": 0,
    "min_p": 0,
    "repetition_penalty": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
}


def seed_of(uniform: float) -> int:
    """Convert a random number in [0, 1) to a seed of 30 bits, so that seeds can count up."""
    return int(uniform * 2**30)


class CompletionRequests:
    """Sends scoring and sampling requests; raises ServedModelError for impossible answers."""

    def __init__(self, client: CompletionsClient, *, ids: int):
        self._client = client
        self._num_ids = ids

    def prompts(
        self, rows: Sequence[Sequence[int]], *, top: int = 0, first: Sequence[int] | None = None
    ) -> list[list[Mapping[int, TokenScore]]]:
        """Return the scores of each row token and of the `top` most likely tokens there.

        The result has shape `(rows, tokens)`. It is empty before position `first` of a row, which
        is at least 1.
        """
        fields = {"prompt_logprobs": top, **_ONE_TOKEN}
        choices = self._first_choices([self._request(row, **fields) for row in rows])
        return [
            self._scores(row, choice.prompt_logprobs, top, at)
            for row, choice, at in zip(rows, choices, first or [1] * len(rows), strict=True)
        ]

    def last(self, rows: Sequence[Sequence[int]]) -> list[TokenScore]:
        """Return the score of each row's last token."""
        all_seen = self.prompts(rows, first=[len(row) - 1 for row in rows])
        return [seen[-1][row[-1]] for row, seen in zip(rows, all_seen, strict=True)]

    def likeliest(self, rows: Sequence[Sequence[int]], count: int) -> list[dict[int, float]]:
        """Return at least `count` most likely tokens after each row, with log-probabilities."""
        fields = {"logprobs": count, "return_tokens_as_token_ids": True}
        choices = self._first_choices([self._request(row, **_ONE_TOKEN, **fields) for row in rows])
        all_listed = []
        for choice in choices:
            listed = ((choice.logprobs or Logprobs()).top_logprobs or [None])[0] or {}
            if len(listed) < count:
                raise ServedModelError(
                    f"The server at {self._client.url} lists only {len(listed)} most likely tokens "
                    f"after a text. Expected {count}, by token id. Start `vllm serve` with "
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
        """Return `counts` samples after each row: tokens and log-probabilities at temperature 1.

        The seeds of a row's samples count up from its seed. A sample ends with the token that
        completes a stop text.
        """
        fields = {"max_tokens": max_new_tokens, "temperature": temperature, "logprobs": 1}
        fields |= {"return_tokens_as_token_ids": True, "stop": list(stop_texts)}
        of_rows = self._client.complete(
            [
                self._request(row, seed=seed, n=count, **fields)
                for row, seed, count in zip(rows, seeds, counts, strict=True)
            ]
        )
        return [[self._sampled(choice) for choice in choices] for choices in of_rows]

    def _first_choices(self, requests: Sequence[Mapping[str, Any]]) -> list[Choice]:
        return [choices[0] for choices in self._client.complete(requests)]

    def _request(self, row: Sequence[int], **fields: Any) -> dict[str, Any]:
        return {"prompt": list(row), **_NEUTRAL_SAMPLING, **fields}

    def _scores(
        self, row: Sequence[int], prompt_logprobs: Sequence[Any] | None, top: int, first: int
    ) -> list[Mapping[int, TokenScore]]:
        if prompt_logprobs is None or len(prompt_logprobs) != len(row):
            what = "returns no prompt_logprobs (log-probabilities of prompt tokens) for scoring"
            raise unexpected_answer(self._client.url, what)
        all_scores: list[Mapping[int, TokenScore]] = [{}] * first
        for token, at_position in zip(
            row[first:], self._client.in_form(prompt_logprobs[first:], PROMPT_SCORES), strict=True
        ):
            scores = at_position or {}
            if token not in scores or len(scores) < top:
                raise ServedModelError(
                    f"The server at {self._client.url} lists {len(scores)} tokens at a position of "
                    f"a prompt, {'with' if token in scores else 'without'} the prompt's own token. "
                    f"Expected that token and the {top} most likely ones. Start `vllm serve` with "
                    f"--max-logprobs {top or 1} or more, and without a proxy that mixes answers."
                )
            self._check({each: score.log_probability for each, score in scores.items()})
            # A token of rank r is at most as likely as each of r tokens, including itself.
            self._check_sum(scores[token].rank * math.exp(scores[token].log_probability))
            all_scores.append(scores)
        return all_scores

    def _sampled(self, choice: Choice) -> list[tuple[int, float]]:
        found = choice.logprobs or Logprobs()
        tokens, values = found.tokens or [], found.token_logprobs or []
        # Even a sample that ends at once contains the token that ended it.
        if not tokens or len(tokens) != len(values):
            what = f"returned {len(tokens)} token ids with {len(values)} log-probabilities"
            raise unexpected_answer(self._client.url, what)
        most_likely = found.top_logprobs or [None] * len(tokens)
        for token, value, others in zip(tokens, values, most_likely, strict=False):
            self._check({token: value, **(others or {})})
        return list(zip(tokens, values, strict=True))

    def _check(self, scores: Mapping[int, float]) -> None:
        """Raise if tokens of one position cannot have these log-probabilities together."""
        for wrong in (token for token in scores if not 0 <= token < self._num_ids):
            raise ServedModelError(
                f"The server at {self._client.url} returned the token id {wrong}. Expected an id "
                f"of the tokenizer, 0 to {self._num_ids - 1}. Set language_model.path to the "
                "folder with the tokenizer of the server's model, and use no proxy that changes "
                "answers."
            )
        self._check_sum(sum(map(math.exp, scores.values())))

    def _check_sum(self, probability: float) -> None:
        if probability > 1 + ROUNDED_ZERO:
            what = f"returned token probabilities for one position that sum to {probability:.4g}"
            raise unexpected_answer(self._client.url, what)
