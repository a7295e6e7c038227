"""The language model of the method, by requests to a server that runs it."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from toolformer.forward.model import TOLD_RANKS, Branch, Continuation, Place
from toolformer.forward.start_token import end_ids, start_token
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import SplitPrompt, Window
from toolformer.served.answers import TokenScore
from toolformer.served.completion_forms import seed_of
from toolformer.served.handshake import server_capabilities
from toolformer.served.http_client import IN_FLIGHT, CompletionsClient
from toolformer.served.served_contexts import ServedContexts

# So many tokens and texts are asked about between two checkpoints: twice what is in flight, since
# the slowest of a batch is waited for at its end.
_BATCH_TOKENS, _BATCH_TEXTS = 131_072, 2 * IN_FLIGHT
# Behind these no sampled call goes on; see `CallReader.end`.
_CALL_ENDS = ("]", "\n")
# A banned token that is less likely would take no more than about this from a loss, in nats.
_UNLIKELY = 1e-3


class ServedModel:
    """A `toolformer.forward.model.Model` that a server runs.

    The server is looked at when it is made; see `toolformer.served.handshake`.

    Args:
        tokenizer: the model's own: token ids alone are sent.
        configurations: what lies beside it; see `end_ids`.
        bos_token: see `Network.load`.

    Raises:
        ServedModelError: the server cannot do what annotation needs.
    """

    # The text in front of a continuation is fed again.
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
        self.found = server_capabilities(client, tokenizer, self.bos_id)
        # `unknown` where the server does not tell.
        self.precision = self.found.precision
        self.loss_noise: float | None = self.found.noise
        # Beside a row: the token that its last loss is of, and one that has to be asked for.
        self.context_length = self.found.context_length - 2

    def close(self) -> None:
        """End the connections to the server."""
        self._client.close()

    def ask_while(self, is_wanted: Callable[[], bool]) -> None:
        """See `Model.ask_while`."""
        self._client.is_wanted = is_wanted

    @property
    def tokens_fed(self) -> int:
        """See `Model.tokens_fed`; by the server's count, which has what its cache spared it."""
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
        """See `Model.losses_at` and, of the last two, `Texts.losses`.

        Tokens that stand in their rows are asked for by one request a row. Of others the likeliest
        tokens of a row's places tell most, and of what they leave out that it is less likely; what
        may be wanted all the same is asked for place by place. A banned token that is less likely
        than a thousandth is taken for one without a chance.
        """
        if banned is not None:
            losses = self.losses_at(rows, places)
            of_banned = [(row, at, banned) for row, at, _ in places]
            told = self.losses_at(rows, of_banned, min_probability=_UNLIKELY)
            return [
                math.inf if place[2] == banned else loss + _log_rest(other)
                for place, loss, other in zip(places, losses, told, strict=True)
            ]
        # What a row has behind a place; behind its last one a token that is wanted there.
        behind = {(row, at): token for row, at, token in reversed(places)}
        behind |= {(row, at): rows[row][at + 1] for row, at, _ in places if at + 1 < len(rows[row])}
        standing = [place for place in places if behind[place[:2]] == place[2]]
        losses = {
            place: -seen[place[2]].log_probability
            for of_row in self._seen(rows, standing, top=0)
            for place, seen in of_row
        }
        others = [place for place in places if place not in losses]
        if self.found.top:
            losses |= self._of_likeliest(rows, others, min_probability, most)
        losses |= self._by_place(rows, [place for place in others if place not in losses])
        return [losses[place] for place in places]

    def _of_likeliest(
        self,
        rows: Sequence[Sequence[int]],
        places: Sequence[tuple[int, int, int]],
        min_probability: float,
        most: int | None,
    ) -> dict[tuple[int, int, int], float]:
        """Losses of tokens as far as they matter, in rows where several are asked about.

        One request a row tells some, and of the others how likely they are at most. The likeliest
        of these are asked for first: what they turn out to be leaves fewer open.
        """
        top, count = self.found.top, Counter(row for row, _, _ in places)
        # Of a single place of a row a request by place tells all.
        several = [place for place in places if count[place[0]] > 1]
        losses: dict[tuple[int, int, int], float] = {}
        bounds: dict[tuple[int, int, int], float] = {}
        by_row: list[list[tuple[int, int, int]]] = []
        for of_row in self._seen(rows, several, top=top):
            for place, seen in of_row:
                values = sorted((each.log_probability for each in seen.values()), reverse=True)
                # What is left out is as likely as the last that is told, at most.
                bounds[place] = min(math.exp(values[top - 1]), 1 / (top + 1))
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
            losses |= self._by_place(rows, asked)

    def _seen(
        self, rows: Sequence[Sequence[int]], places: Sequence[tuple[int, int, int]], *, top: int
    ) -> Iterator[list[tuple[tuple[int, int, int], Mapping[int, TokenScore]]]]:
        """By row the places with what is seen there; a row ends with what is wanted last in it."""
        by_row: dict[int, list[tuple[int, int, int]]] = {}
        for place in sorted(places):
            by_row.setdefault(place[0], []).append(place)
        asked = [[*rows[row][: of[-1][1] + 1], of[-1][2]] for row, of in by_row.items()]
        first = [of[0][1] + 1 for of in by_row.values()]
        all_seen = self.found.forms.prompts(asked, top=top, first=first)
        for of_row, seen in zip(by_row.values(), all_seen, strict=True):
            yield [(place, seen[place[1] + 1]) for place in of_row]

    def _by_place(
        self, rows: Sequence[Sequence[int]], places: Sequence[tuple[int, int, int]]
    ) -> dict[tuple[int, int, int], float]:
        losses: dict[tuple[int, int, int], float] = {}
        if self.found.lists_tokens:
            named: dict[tuple[int, int], list[int]] = {}
            for row, at, token in places:
                named.setdefault((row, at), []).append(token)
            asked = [
                (row, at, tokens[first : first + TOLD_RANKS])
                for (row, at), tokens in named.items()
                for first in range(0, len(tokens), TOLD_RANKS)
            ]
            told = self.found.forms.behind(
                [rows[row][: at + 1] for row, at, _ in asked], [tokens for _, _, tokens in asked]
            )
            losses = {
                (row, at, token): -log_probability
                for (row, at, tokens), values in zip(asked, told, strict=True)
                for token, log_probability in zip(tokens, values, strict=True)
                if log_probability is not None
            }
        # Of a server that names no tokens each is asked about as the last of a prompt.
        left = [place for place in places if place not in losses]
        asked_rows = [[*rows[row][: at + 1], token] for row, at, token in left]
        for place, seen in zip(left, self.found.forms.last(asked_rows), strict=True):
            losses[place] = -seen.log_probability
        return losses

    def read(self, prompt: str | None, windows: Sequence[Window]) -> "ServedTexts":
        """See `Model.read`."""
        return ServedTexts(self, prompt, windows)

    def contexts(self, rows: int) -> ServedContexts:
        """See `Model.contexts`."""
        return ServedContexts(self.found.forms, [[] for _ in range(rows)])


class ServedTexts:
    """A `toolformer.forward.model.Texts` of a served model; each question is a request."""

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
        places: Sequence[tuple[Place, int]],
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

    def ranks(self, places: Sequence[Place], token: int) -> list[tuple[int, float]]:
        """See `Texts.ranks`; of equally likely tokens vLLM counts all."""
        seen = self._model.found.forms.last([[*self._context(place), token] for place in places])
        return [(each.rank, each.log_probability) for each in seen]

    def sample(
        self,
        places: Sequence[Place],
        groups: Sequence[Sequence[Branch]],
        *,
        forced_ids: Sequence[int],
        max_new_tokens: int,
        temperature: float,
        is_finished: Callable[[Branch], bool],
    ) -> None:
        """See `Texts.sample`; the seeds of a place count up from its first random number."""
        found = self._model.found
        asked = [
            (place, seed_of(group[0].uniforms[0]) + first, group[first : first + size])
            for size in [found.samples_at_once]
            for place, group in zip(places, groups, strict=True)
            for first in range(0, len(group), size)
        ]
        sampled = found.forms.samples(
            [[*self._context(place), *forced_ids] for place, _, _ in asked],
            [seed for _, seed, _ in asked],
            counts=[len(branches) for _, _, branches in asked],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            stop_texts=_CALL_ENDS if found.stops_samples else (),
        )
        for (_, _, branches), samples in zip(asked, sampled, strict=True):
            for branch, tokens in zip(branches, samples, strict=True):
                self._fill(branch, tokens, is_finished)

    def _fill(
        self,
        branch: Branch,
        tokens: Sequence[tuple[int, float]],
        is_finished: Callable[[Branch], bool],
    ) -> None:
        for token, log_probability in tokens:
            branch.tokens.append(token)
            branch.token_texts.append(self._model.tokenizer.token_text(token))
            branch.log_probability += log_probability
            branch.is_finished = is_finished(branch)
            if branch.is_finished:
                break

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

    def contexts(self, places: Sequence[Place]) -> ServedContexts:
        """See `Texts.contexts`."""
        contexts = [self._context(place) for place in places]
        return ServedContexts(self._model.found.forms, contexts)

    def _end(self, place: Place) -> int:
        return len(self._before[place.row]) + place.position

    def _context(self, place: Place) -> list[int]:
        return self._rows[place.row][: self._end(place)]


def _log_rest(loss: float) -> float:
    """log(1 - p) of a token by its loss; -inf, by which others have no loss, where p is 1."""
    return math.log1p(-math.exp(-loss)) if loss > 0 else -math.inf
