"""The forms of the requests: those of vLLM's completions, which `toolformer serve` has too.

    prompt_logprobs: k       at each place of a prompt the given token, and the k likeliest
    logprob_token_ids: [t]   log probability of t behind a prompt, with max_tokens: 1
    return_tokens_as_token_ids
                             sampled tokens as `token_id:504`, beside their log probabilities

Pinned by vllm/entrypoints/openai/completion/protocol.py of vLLM (2026).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from toolformer.errors import ServedModelError
from toolformer.served.http_client import CompletionsClient

_NAME = "token_id:"
# As few as all engines take, where the prompt is what is asked about.
_ONE_TOKEN = {"max_tokens": 1, "temperature": 0}
# A certain token's log probability may be rounded to more than 0.
_ROUNDED_ZERO = 0.01
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


class Seen(NamedTuple):
    """A token at a place: its log probability in nats, and its rank from 1."""

    log_probability: float
    rank: int


class Wire:
    """Asks in these forms.

    Args:
        has_tools: the server is one of ours, whose completions would call tools.
    """

    def __init__(self, client: CompletionsClient, *, has_tools: bool):
        self._client = client
        self._plain: Mapping[str, Any] = {"tools": "off"} if has_tools else _OWN_DISTRIBUTION

    def prompts(
        self, rows: Sequence[Sequence[int]], *, top: int = 0
    ) -> list[list[Mapping[int, Seen]]]:
        """What is seen at the places of rows: the given token, and so many of the likeliest.

        Returns:
            Shape `(rows, tokens)`, ragged; nothing at the first place of a row.

        Raises:
            ServedModelError: the answer has no such numbers, or is of another prompt.
        """
        choices = self._client.complete([self.prompt_request(row, top=top) for row in rows])
        return [
            self._seen(row, choice.get("prompt_logprobs"), top)
            for row, choice in zip(rows, choices, strict=True)
        ]

    def prompt_request(self, row: Sequence[int], *, top: int) -> dict[str, Any]:
        """What asks for the places of a row."""
        return self._request(row, prompt_logprobs=top, **_ONE_TOKEN)

    def likeliest(self, rows: Sequence[Sequence[int]], count: int) -> list[dict[int, float]]:
        """The likeliest tokens behind each row, at least so many, with their log probabilities.

        Raises:
            ServedModelError: the server tells fewer.
        """
        asked = {"logprobs": count, "return_tokens_as_token_ids": True}
        choices = self._client.complete([self._request(row, **_ONE_TOKEN, **asked) for row in rows])
        return [self._ranked(choice.get("logprobs"), count) for choice in choices]

    def behind(
        self, rows: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]]
    ) -> list[list[float | None]]:
        """Log probabilities of tokens behind each row; None where the server does not give one."""
        asked = {"logprobs": 1, "return_tokens_as_token_ids": True, **_ONE_TOKEN}
        choices = self._client.complete(
            [
                self._request(row, logprob_token_ids=list(named), **asked)
                for row, named in zip(rows, tokens, strict=True)
            ]
        )
        listed = [(choice.get("logprobs") or {}).get("top_logprobs") for choice in choices]
        values = [
            [(told[0] or {}).get(f"{_NAME}{token}") if told else None for token in named]
            for told, named in zip(listed, tokens, strict=True)
        ]
        return [[v if v is None else self._number(v) for v in of_row] for of_row in values]

    def samples(
        self,
        rows: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float = 1.0,
    ) -> list[list[tuple[int, float]]]:
        """Tokens that go on with each row, with their log probabilities at temperature 1."""
        asked = {"max_tokens": max_new_tokens, "temperature": temperature, "logprobs": 0}
        asked |= {"return_tokens_as_token_ids": True, "top_p": top_p}
        choices = self._client.complete(
            [self._request(row, seed=seed, **asked) for row, seed in zip(rows, seeds, strict=True)]
        )
        return [self._sampled(choice.get("logprobs")) for choice in choices]

    def _request(self, row: Sequence[int], **fields: Any) -> dict[str, Any]:
        return {"prompt": list(row), **self._plain, **fields}

    def _seen(self, row: Sequence[int], places: Any, top: int) -> list[Mapping[int, Seen]]:
        if not isinstance(places, list) or len(places) != len(row):
            raise ServedModelError(
                f"The server at {self._client.url} gives no prompt_logprobs, the log "
                "probabilities of given tokens, which scoring needs. Take an engine that has them, "
                "such as `vllm serve`."
            )
        seen: list[Mapping[int, Seen]] = [{}]
        for token, place in zip(row[1:], places[1:], strict=True):
            try:
                told = {
                    int(name): Seen(self._number(each.get("logprob")), each.get("rank") or 0)
                    for name, each in (place or {}).items()
                }
            except (AttributeError, ValueError) as error:
                raise ServedModelError(
                    f"The server at {self._client.url} gives prompt_logprobs in another form than "
                    f"vLLM ({error}): expected at each place token ids with logprob and rank. Take "
                    "an engine that has this form, such as `vllm serve`."
                ) from error
            if token not in told or len(told) < top:
                raise ServedModelError(
                    f"The server at {self._client.url} told {len(told)} tokens at a place of a "
                    f"prompt, {'with' if token in told else 'without'} the given one. Expected it "
                    f"and the {top} likeliest: start `vllm serve` with --max-logprobs {top or 1} "
                    "or more, and without a proxy that mixes answers."
                )
            seen.append(told)
        return seen

    def _ranked(self, logprobs: Mapping[str, Any] | None, count: int) -> dict[int, float]:
        listed = (logprobs or {}).get("top_logprobs") or [None]
        told = {
            int(name.removeprefix(_NAME)): self._number(value)
            for name, value in (listed[0] or {}).items()
            if name.startswith(_NAME)
        }
        if len(told) < count:
            raise ServedModelError(
                f"The server at {self._client.url} told {len(told)} of the likeliest tokens behind "
                f"a text by their ids. Decoding needs {count}: start `vllm serve` with "
                f"--max-logprobs {count} or more."
            )
        return told

    def _sampled(self, logprobs: Mapping[str, Any] | None) -> list[tuple[int, float]]:
        names = (logprobs or {}).get("tokens") or []
        values = (logprobs or {}).get("token_logprobs") or []
        is_named = all(name.startswith(_NAME) for name in names)
        # What ended a text at once is a token too, so there is always one.
        if not names or len(names) != len(values) or not is_named:
            raise ServedModelError(
                f"The server at {self._client.url} gave the tokens {names[:3]} for "
                "return_tokens_as_token_ids. Expected `token_id:` and a number, which `vllm serve` "
                "gives since 0.6; text says not which tokens were sampled."
            )
        tokens = (int(name.removeprefix(_NAME)) for name in names)
        return list(zip(tokens, map(self._number, values), strict=True))

    def _number(self, value: Any) -> float:
        """A log probability as it was told."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not value <= _ROUNDED_ZERO:
            raise ServedModelError(
                f"The server at {self._client.url} told {value!r} for the log probability of a "
                "token. Expected a number of at most 0 at every place: take an engine that gives "
                "them, without a proxy that changes answers."
            )
        return value
