"""The language model of the method, by requests to a server that runs it."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from toolformer.errors import ServedModelError
from toolformer.forward.model import REPORTED_RANKS, Branch, Continuation, TextPosition
from toolformer.forward.start_token import end_ids, start_token
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import SplitPrompt, Window
from toolformer.served.answers import TokenScore
from toolformer.served.completion_requests import seed_of
from toolformer.served.handshake import check_server
from toolformer.served.http_client import IN_FLIGHT, CompletionsClient
from toolformer.served.served_contexts import ServedContexts

# Maximum number of tokens and texts between two checkpoints: twice the requests in flight, since
# the end of a batch waits for the slowest.
_BATCH_TOKENS, _BATCH_TEXTS = 131_072, 2 * IN_FLIGHT
# Of a server that does not report it.
_DEFAULT_CONTEXT = 2048
# A sampled call ends at these; see `CallReader.end`.
_CALL_ENDS = ("]", "\n")
# Banning a token that is less likely than this changes a loss by at most about as many nats.
_UNLIKELY = 1e-3


class ServedModel:
    """A `toolformer.forward.model.Model` that a server runs.

    The server is probed at once; see `toolformer.served.handshake`.

    Args:
        tokenizer: the model's own, since only token ids are sent.
        configurations: configuration files beside the tokenizer; see `end_ids`.
        bos_token: see `Network.load`.

    Raises:
        ServedModelError: the server cannot do what annotation needs.
    """

    # The text before a continuation is fed again.
    keys_per_token = 1

    def __init__(
        self,
        client: CompletionsClient,
        tokenizer: Tokenizer,
        *,
        bos_token: str | None = None,
        configurations: Iterable[Mapping[str, Any]] = (),
    ):
        self._client = client
        self.name = client.model
        self.tokenizer = tokenizer
        self.bos_id = start_token(tokenizer, bos_token)
        self.prompt_start = [self.bos_id] if tokenizer.start_ids else []
        self.end_ids = end_ids(tokenizer, self.bos_id, configurations)
        self.forms, card = check_server(client, tokenizer, self.bos_id)
        self.precision = card.dtype or "unknown"
        # Besides a row, a request has the token of its last loss, and asks for one more.
        self.context_length = (card.max_model_len or _DEFAULT_CONTEXT) - 2

    def close(self) -> None:
        """End the connections to the server."""
        self._client.close()

    def ask_while(self, is_wanted: Callable[[], bool]) -> None:
        """See `Model.ask_while`."""
        self._client.is_wanted = is_wanted

    @property
    def tokens_fed(self) -> int:
        """See `Model.tokens_fed`; as the server counts them, cached ones included."""
        return self._client.tokens_fed

    def batch_tokens(self, *, window_tokens: int) -> int:
        """See `Model.batch_tokens`."""
        return max(window_tokens, _BATCH_TOKENS)

    def windows_per_batch(self, *, windows: int, branches: int, keys: int) -> int:  # noqa: ARG002
        """See `Model.windows_per_batch`."""
        return max(1, min(windows, _BATCH_TEXTS))

    def rows_at_once(self, *, row_tokens: int) -> int:  # noqa: ARG002
        """See `Model.rows_at_once`."""
        return _BATCH_TEXTS

    def losses_at(
        self,
        rows: Sequence[Sequence[int]],
        places: Sequence[tuple[int, int, int]],
        *,
        banned: int | None = None,
        min_probability: float = 0.0,
        most: int | None = None,
    ) -> list[float]:
        """See `Model.losses_at`, and for the last two arguments `Texts.losses`.

        One request per row returns the losses of its own tokens. For other tokens, one request per
        row returns the likeliest tokens of each place, which bound all others from above; only a
        token that may still matter costs a request of its own. A banned token with a probability
        below 0.001 is treated as if it had none.
        """
        if banned is not None:
            losses = self.losses_at(rows, places)
            of_banned = [(row, at, banned) for row, at, _ in places]
            told = self.losses_at(rows, of_banned, min_probability=_UNLIKELY)
            return [
                math.inf if place[2] == banned else loss + _log_rest(other)
                for place, loss, other in zip(places, losses, told, strict=True)
            ]
        # The token after a place in its row, or after its end one that is wanted there.
        behind = {(row, at): token for row, at, token in reversed(places)}
        behind |= {(row, at): rows[row][at + 1] for row, at, _ in places if at + 1 < len(rows[row])}
        standing = [place for place in places if behind[place[:2]] == place[2]]
        losses = {
            place: -seen[place[2]].log_probability
            for of_row in self._seen(rows, standing, top=0)
            for place, seen in of_row
        }
        others = [place for place in places if place not in losses]
        losses |= self._of_likeliest(rows, others, min_probability, most)
        return [losses[place] for place in places]

    def _of_likeliest(
        self,
        rows: Sequence[Sequence[int]],
        places: Sequence[tuple[int, int, int]],
        min_probability: float,
        most: int | None,
    ) -> dict[tuple[int, int, int], float]:
        """Return the losses of tokens that matter; inf for the others.

        Tokens with the largest bounds are asked for first, since their losses may settle others.
        """
        losses: dict[tuple[int, int, int], float] = {}
        bounds: dict[tuple[int, int, int], float] = {}
        by_row: list[list[tuple[int, int, int]]] = []
        for of_row in self._seen(rows, places, top=REPORTED_RANKS):
            for place, seen in of_row:
                values = sorted((each.log_probability for each in seen.values()), reverse=True)
                # No token that is left out is likelier than the last one reported.
                bounds[place] = min(math.exp(values[REPORTED_RANKS - 1]), 1 / (REPORTED_RANKS + 1))
                if place[2] in seen:
                    losses[place] = -seen[place[2]].log_probability
            by_row.append(sorted(dict(of_row), key=bounds.__getitem__, reverse=True))
        while True:
            asked: list[tuple[int, int, int]] = []
            for of_row in by_row:
                enough = sorted(losses[place] for place in of_row if place in losses)[: most or 0]
                limit = max(min_probability, math.exp(-enough[-1]) if len(enough) == most else 0.0)
                left = [place for place in of_row if place not in losses]
                asked += [place for place in left if bounds[place] >= limit][:most]
            if not asked:
                return dict.fromkeys(bounds, math.inf) | losses
            seen = self.forms.last([[*rows[row][: at + 1], token] for row, at, token in asked])
            losses |= zip(asked, (-each.log_probability for each in seen), strict=True)

    def _seen(
        self, rows: Sequence[Sequence[int]], places: Sequence[tuple[int, int, int]], *, top: int
    ) -> Iterator[list[tuple[tuple[int, int, int], Mapping[int, TokenScore]]]]:
        """Yield the places of each row with what is seen there; rows end at their last place."""
        by_row: dict[int, list[tuple[int, int, int]]] = {}
        for place in sorted(places):
            by_row.setdefault(place[0], []).append(place)
        asked = [[*rows[row][: of[-1][1] + 1], of[-1][2]] for row, of in by_row.items()]
        first = [of[0][1] + 1 for of in by_row.values()]
        all_seen = self.forms.prompts(asked, top=top, first=first)
        for of_row, seen in zip(by_row.values(), all_seen, strict=True):
            yield [(place, seen[place[1] + 1]) for place in of_row]

    def read(self, prompt: str | None, windows: Sequence[Window]) -> "ServedTexts":
        """See `Model.read`."""
        return ServedTexts(self, prompt, windows)

    def contexts(self, rows: int) -> ServedContexts:
        """See `Model.contexts`."""
        return ServedContexts(self.forms, [[] for _ in range(rows)])


class ServedTexts:
    """A `toolformer.forward.model.Texts` of a served model."""

    def __init__(self, model: ServedModel, prompt: str | None, windows: Sequence[Window]):
        self._model = model
        tokenizer = model.tokenizer
        self._before = [[model.bos_id] for _ in windows]
        if prompt is not None:
            split = SplitPrompt.of(prompt)
            shared = [*model.prompt_start, *split.shared_ids(tokenizer)]
            parts = (split.text_part_ids(tokenizer, window.text) for window in windows)
            self._before = [[*shared, *part] for part in parts]
        self._rows = [
            [*before, *window.ids] for before, window in zip(self._before, windows, strict=True)
        ]

    def losses(
        self,
        places: Sequence[tuple[TextPosition, int]],
        *,
        min_probability: float = 0.0,
        most: int | None = None,
    ) -> list[float]:
        """See `Texts.losses`."""
        return self._model.losses_at(
            self._rows,
            [(place.row, self._end(place) - 1, token) for place, token in places],
            min_probability=min_probability,
            most=most,
        )

    def ranks(self, places: Sequence[TextPosition], token: int) -> list[tuple[int, float]]:
        """See `Texts.ranks`; vLLM counts equally likely tokens as likelier ones."""
        seen = self._model.forms.last([[*self._context(place), token] for place in places])
        return [(each.rank, each.log_probability) for each in seen]

    def sample(
        self,
        places: Sequence[TextPosition],
        groups: Sequence[Sequence[Branch]],
        *,
        forced_ids: Sequence[int],
        max_new_tokens: int,
        temperature: float,
        may_finish: Callable[[int], bool],
        is_finished: Callable[[Branch], bool],
    ) -> None:
        """See `Texts.sample`; the seeds of a place count up from its first random number."""
        tokenizer = self._model.tokenizer
        sampled = self._model.forms.samples(
            [[*self._context(place), *forced_ids] for place in places],
            [seed_of(group[0].uniforms[0]) for group in groups],
            [len(group) for group in groups],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            stop_texts=_CALL_ENDS,
        )
        for branches, samples in zip(groups, sampled, strict=True):
            for branch, tokens in zip(branches, samples, strict=True):
                for token, log_probability in tokens:
                    branch.tokens.append(token)
                    branch.token_texts.append(tokenizer.token_text(token))
                    branch.log_probability += log_probability
                    branch.is_finished = may_finish(token) and is_finished(branch)
                    if branch.is_finished:
                        break
                is_cut = len(branch.tokens) < max_new_tokens and not branch.is_finished
                if is_cut and branch.tokens[-1] not in tokenizer.special_ids:
                    raise ServedModelError(
                        f"The server ended the sample {''.join(branch.token_texts)!r} without the "
                        f"token that completes a stop text. Expected one of {_CALL_ENDS}, since a "
                        "call ends with its bracket. Use an engine that returns it, such as vLLM."
                    )

    def continuation_losses(self, continuations: Sequence[Continuation]) -> list[list[float]]:
        """See `Texts.continuation_losses`."""
        rows = [[*self._context(each.place), *each.fed] for each in continuations]
        places = [
            (row, len(rows[row]) - len(each.following) + t, token)
            for row, each in enumerate(continuations)
            for t, token in enumerate(each.following)
        ]
        losses = iter(self._model.losses_at(rows, places))
        return [[next(losses) for _ in each.following] for each in continuations]

    def contexts(self, places: Sequence[TextPosition]) -> ServedContexts:
        """See `Texts.contexts`."""
        contexts = [self._context(place) for place in places]
        return ServedContexts(self._model.forms, contexts)

    def _end(self, place: TextPosition) -> int:
        return len(self._before[place.row]) + place.position

    def _context(self, place: TextPosition) -> list[int]:
        return self._rows[place.row][: self._end(place)]


def _log_rest(loss: float) -> float:
    """Return log(1 - p) of a token from its loss; -inf if p is 1."""
    return math.log1p(-math.exp(-loss)) if loss > 0 else -math.inf
