"""The losses of windows of a text, of which some are chosen at random (paper §4.3).

Does not store anything.
"""

import math
from collections.abc import Callable, Iterable, Sequence

from dagster_project.settings.sections import Settings
from toolformer.errors import ToolformerError
from toolformer.evaluation.modes import DISABLED
from toolformer.forward.batching import plan_batches
from toolformer.forward.geometry import choose_pack_tokens
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import Window
from toolformer.ground.digests import digest
from toolformer.losses import token_losses


def measure_losses(
    model: LanguageModel,
    texts: Iterable[Window],
    settings: Settings,
    *,
    progress: Callable[[int, int], None],
) -> list[dict]:
    """The mean loss of each window, with calls disabled.

    Args:
        model: any.
        texts: windows, of which `evaluation.perplexity_windows` are chosen.
        settings: of the run.
        progress: told windows done and windows in all.

    Returns:
        Rows of `evaluation_results` without benchmark, model and precision.

    Raises:
        ToolformerError: there is no window.
    """
    # A random choice that does not change when other windows come or go.
    seed = settings.evaluation.seed
    windows = sorted(
        texts,
        key=lambda window: digest(seed, window.document_id, window.index, size=8, separator=" "),
    )[: settings.evaluation.perplexity_windows]
    if not windows:
        raise ToolformerError(
            "The text is empty, so there is no loss to measure. Expected a text in UTF-8; correct "
            "the path in evaluation.texts."
        )
    rows = []
    batches = plan_batches(
        [len(window.ids) for window in windows],
        token_budget=settings.scoring.token_budget
        or choose_pack_tokens(model, window_tokens=settings.corpus.window_tokens),
        is_padded=not model.packs_rows,
    )
    for batch in batches:
        losses = token_losses(model, [list(windows[index].ids) for index in batch])
        for index, of_window in zip(batch, losses, strict=True):
            window = windows[index]
            rows.append(
                {
                    "item_id": f"{window.document_id}-{window.index}",
                    "mode": DISABLED.name,
                    "call_top_k": DISABLED.call_top_k,
                    "least_call_probability": DISABLED.least_call_probability,
                    "metric": "perplexity",
                    "prompt": window.text,
                    "output": "",
                    "gold": "",
                    **mean_loss(of_window),
                }
            )
        progress(len(rows), len(windows))
    return sorted(rows, key=lambda row: row["item_id"])


def mean_loss(losses: Sequence[float]) -> dict:
    """The mean over the tokens of a window, in nats; none, and why, where there is no number."""
    if not losses:
        return {"score": None, "score_weight": 0.0, "reason": "empty"}
    is_finite = all(map(math.isfinite, losses))
    return {
        "score": math.fsum(losses) / len(losses) if is_finite else None,
        "score_weight": float(len(losses)),
        "reason": None if is_finite else "non_finite_loss",
    }
