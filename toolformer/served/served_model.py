"""Implements `toolformer.forward.model.Model` with requests to a completion server."""

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

# Maximum number of tokens and texts between two checkpoints. Twice the concurrent requests, since
# the end of a batch waits for its slowest request.
_BATCH_TOKENS, _BATCH_TEXTS = 131_072, 2 * IN_FLIGHT
# Context length if the server does not report it.
_DEFAULT_CONTEXT = 2048
# Texts that end a sampled call; see `CallReader.end`.
_CALL_ENDS = ("]", "\n")
# Banning a token below this probability changes a loss by at most about this many nats.
_UNLIKELY = 1e-3


class ServedModel:
    """Model that a server runs; it is probed at once, see `toolformer.served.handshake`.

    `configurations` are the configuration files next to the tokenizer; see `end_ids`.
    """

    # The server prefills the text before a continuation again.
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
        # A request contains a row and the token of its last loss, and generates one more token.
        self.context_length = (card.max_model_len or _DEFAULT_CONTEXT) - 2

    def close(self) -> None:
        self._client.close()

    def ask_while(self, is_wanted: Callable[[], bool]) -> None:
        self._client.is_wanted = is_wanted

    @property
    def tokens_fed(self) -> int:
        """See `Model.tokens_fed`; counted by the server, including cached tokens."""
        return self._client.tokens_fed

    def batch_tokens(self, *, window_tokens: int) -> int:
        return max(window_tokens, _BATCH_TOKENS)

    def windows_per_batch(self, *, windows: int, branches: int, keys: int) -> int:  # noqa: ARG002
        return max(1, min(windows, _BATCH_TEXTS))

    def rows_at_once(self, *, row_tokens: int) -> int:  # noqa: ARG002
        return _BATCH_TEXTS

    def losses_at(
        self,
        rows: Sequence[Sequence[int]],
        targets: Sequence[tuple[int, int, int]],
        *,
        banned: int | None = None,
        min_probability: float = 0.0,
        most: int | None = None,
    ) -> list[float]:
        """See `Model.losses_at`, and for the last two arguments `Texts.losses`.

        One request per row yields the losses of its own tokens, and another one the most likely
        tokens per position, which bound all others. Only tokens that may still matter need a
        request of their own. A banned token below a probability of 0.001 counts as impossible.
        """
        if banned is not None:
            losses = self.losses_at(rows, targets)
            banned_targets = [(row, at, banned) for row, at, _ in targets]
            banned_losses = self.losses_at(rows, banned_targets, min_probability=_UNLIKELY)
            return [
                math.inf if target[2] == banned else loss + _log_rest(banned_loss)
                for target, loss, banned_loss in zip(targets, losses, banned_losses, strict=True)
            ]
        # The row's next token per position; after the end of the row, one of the targets there.
        next_token = {(row, at): token for row, at, token in reversed(targets)}
        next_token |= {
            (row, at): rows[row][at + 1] for row, at, _ in targets if at + 1 < len(rows[row])
        }
        own_targets = [target for target in targets if next_token[target[:2]] == target[2]]
        losses = {
            target: -scores[target[2]].log_probability
            for row_scores in self._scores(rows, own_targets, top=0)
            for target, scores in row_scores
        }
        others = [target for target in targets if target not in losses]
        losses |= self._losses_of_others(rows, others, min_probability, most)
        return [losses[target] for target in targets]

    def _losses_of_others(
        self,
        rows: Sequence[Sequence[int]],
        targets: Sequence[tuple[int, int, int]],
        min_probability: float,
        most: int | None,
    ) -> dict[tuple[int, int, int], float]:
        """Return the losses of tokens that matter, and inf for all other targets.

        Tokens with the largest bounds are scored first, since their losses may rule out the rest.
        """
        losses: dict[tuple[int, int, int], float] = {}
        bounds: dict[tuple[int, int, int], float] = {}
        by_row: list[list[tuple[int, int, int]]] = []
        for row_scores in self._scores(rows, targets, top=REPORTED_RANKS):
            for target, scores in row_scores:
                values = sorted((each.log_probability for each in scores.values()), reverse=True)
                # No unreported token is more likely than the last reported one.
                bounds[target] = min(math.exp(values[REPORTED_RANKS - 1]), 1 / (REPORTED_RANKS + 1))
                if target[2] in scores:
                    losses[target] = -scores[target[2]].log_probability
            by_row.append(sorted(dict(row_scores), key=bounds.__getitem__, reverse=True))
        while True:
            asked: list[tuple[int, int, int]] = []
            for row_targets in by_row:
                known = sorted(losses[each] for each in row_targets if each in losses)[: most or 0]
                limit = max(min_probability, math.exp(-known[-1]) if len(known) == most else 0.0)
                unknown = [each for each in row_targets if each not in losses]
                asked += [each for each in unknown if bounds[each] >= limit][:most]
            if not asked:
                return dict.fromkeys(bounds, math.inf) | losses
            scores = self.forms.last([[*rows[row][: at + 1], token] for row, at, token in asked])
            losses |= zip(asked, (-each.log_probability for each in scores), strict=True)

    def _scores(
        self, rows: Sequence[Sequence[int]], targets: Sequence[tuple[int, int, int]], *, top: int
    ) -> Iterator[list[tuple[tuple[int, int, int], Mapping[int, TokenScore]]]]:
        """Yield the targets of each row with the scores there; rows end at their last target."""
        by_row: dict[int, list[tuple[int, int, int]]] = {}
        for target in sorted(targets):
            by_row.setdefault(target[0], []).append(target)
        prompts = [[*rows[row][: of[-1][1] + 1], of[-1][2]] for row, of in by_row.items()]
        first = [of[0][1] + 1 for of in by_row.values()]
        all_scores = self.forms.prompts(prompts, top=top, first=first)
        for row_targets, scores in zip(by_row.values(), all_scores, strict=True):
            yield [(target, scores[target[1] + 1]) for target in row_targets]

    def read(self, prompt: str | None, windows: Sequence[Window]) -> "ServedTexts":
        return ServedTexts(self, prompt, windows)

    def contexts(self, rows: int) -> ServedContexts:
        return ServedContexts(self.forms, [[] for _ in range(rows)])


class ServedTexts:
    """Texts of a served model as `toolformer.forward.model.Texts`."""

    def __init__(self, model: ServedModel, prompt: str | None, windows: Sequence[Window]):
        self._model = model
        tokenizer = model.tokenizer
        self._prefixes = [[model.bos_id] for _ in windows]
        if prompt is not None:
            split = SplitPrompt.of(prompt)
            shared = [*model.prompt_start, *split.shared_ids(tokenizer)]
            text_parts = (split.text_part_ids(tokenizer, window.text) for window in windows)
            self._prefixes = [[*shared, *part] for part in text_parts]
        self._rows = [
            [*prefix, *window.ids] for prefix, window in zip(self._prefixes, windows, strict=True)
        ]

    def losses(
        self,
        targets: Sequence[tuple[TextPosition, int]],
        *,
        min_probability: float = 0.0,
        most: int | None = None,
    ) -> list[float]:
        return self._model.losses_at(
            self._rows,
            [(position.row, self._end(position) - 1, token) for position, token in targets],
            min_probability=min_probability,
            most=most,
        )

    def ranks(self, positions: Sequence[TextPosition], token: int) -> list[tuple[int, float]]:
        """See `Texts.ranks`. vLLM counts equally likely tokens as more likely."""
        scores = self._model.forms.last([[*self._context(each), token] for each in positions])
        return [(each.rank, each.log_probability) for each in scores]

    def sample(
        self,
        positions: Sequence[TextPosition],
        groups: Sequence[Sequence[Branch]],
        *,
        forced_ids: Sequence[int],
        max_new_tokens: int,
        temperature: float,
        may_finish: Callable[[int], bool],
        is_finished: Callable[[Branch], bool],
    ) -> None:
        """See `Texts.sample`; a position's first random number determines its first seed."""
        tokenizer = self._model.tokenizer
        sampled = self._model.forms.samples(
            [[*self._context(each), *forced_ids] for each in positions],
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
                        "token that completes a stop text. Expected "
                        f"{' or '.join(map(repr, _CALL_ENDS))} in it, since a call ends with its "
                        "bracket. Use an engine that returns this token, such as vLLM."
                    )

    def continuation_losses(self, continuations: Sequence[Continuation]) -> list[list[float]]:
        rows = [[*self._context(each.place), *each.fed] for each in continuations]
        targets = [
            (row, len(rows[row]) - len(each.following) + t, token)
            for row, each in enumerate(continuations)
            for t, token in enumerate(each.following)
        ]
        losses = iter(self._model.losses_at(rows, targets))
        return [[next(losses) for _ in each.following] for each in continuations]

    def contexts(self, positions: Sequence[TextPosition]) -> ServedContexts:
        contexts = [self._context(each) for each in positions]
        return ServedContexts(self._model.forms, contexts)

    def _end(self, position: TextPosition) -> int:
        return len(self._prefixes[position.row]) + position.position

    def _context(self, position: TextPosition) -> list[int]:
        return self._rows[position.row][: self._end(position)]


def _log_rest(loss: float) -> float:
    """Return log(1 - p) of a token from its loss; -inf if p is 1."""
    return math.log1p(-math.exp(-loss)) if loss > 0 else -math.inf
