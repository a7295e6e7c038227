"""L_i(ε): the losses of texts without calls, one reading per text for all tools (paper §2)."""

from collections.abc import Iterable, Sequence

from toolformer.forward.batching import feed_in_halves, plan_batches
from toolformer.forward.model import Model
from toolformer.forward.windows import Window, WindowKey


class TextLosses:
    """L_i(ε) for all positions of all windows of a shard.

    The batches follow from the shard's windows alone, so a window's losses do not depend on which
    tools or calls ask for them.

    Attributes:
        is_regrouped: whether memory ran out, so that batches were halved.
    """

    def __init__(self, model: Model, windows: Sequence[Window], *, token_budget: int | None = None):
        self._model = model
        self._windows = windows
        self.is_regrouped = False
        lengths = [len(window.ids) for window in windows]
        token_budget = token_budget or model.batch_tokens(window_tokens=max(lengths, default=0))
        self._batch_of = {
            windows[index].key: tuple(batch)
            for batch in plan_batches(lengths, token_budget=token_budget)
            for index in batch
        }
        self._losses: dict[WindowKey, list[float]] = {}

    def token_losses(self, window: WindowKey) -> list[float]:
        """-log p(x_j | BOS, x_{<j}) for all tokens of a window, in nats."""
        self.read([window])
        return self._losses[window]

    def read(self, windows: Iterable[WindowKey]) -> None:
        """Feed the batches of these windows that were not fed before."""
        batches = dict.fromkeys(
            self._batch_of[window] for window in windows if window not in self._losses
        )
        for batch in batches:
            losses, is_halved = feed_in_halves(
                [list(self._windows[index].ids) for index in batch],
                lambda texts: token_losses(self._model, texts),
            )
            self.is_regrouped |= is_halved
            for index, window_losses in zip(batch, losses, strict=True):
                self._losses[self._windows[index].key] = window_losses


def token_losses(
    model: Model, texts: Sequence[Sequence[int]], *, banned: int | None = None
) -> list[list[float]]:
    """Losses of all tokens of a batch of texts, in nats.

    Args:
        texts: token ids without a beginning-of-sequence token, which is put in front; fed as one
            batch.
        banned: see `Model.losses_at`.

    Returns:
        Shape `(texts, n)`, ragged.
    """
    rows = [[model.bos_id, *ids[:-1]] for ids in texts]
    places = [
        (row, position, ids[position])
        for row, ids in enumerate(texts)
        for position in range(len(ids))
    ]
    # ids[place] stands at row place + 1, so logits row `place` predicts it.
    losses = iter(model.losses_at(rows, places, banned=banned))
    return [[next(losses) for _ in ids] for ids in texts]
