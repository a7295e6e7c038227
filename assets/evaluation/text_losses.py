"""The losses of windows of a text, of which some are chosen at random (paper §4.3).

Does not store anything.
"""

from collections.abc import Callable, Iterable

from dagster_project.settings.sections import Settings
from toolformer.errors import ToolformerError
from toolformer.evaluation.modes import DISABLED
from toolformer.evaluation.perplexity import perplexity_row
from toolformer.forward.batching import plan_batches
from toolformer.forward.geometry import choose_batch_tokens
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import Window
from toolformer.ground.digests import digest
from toolformer.text_losses import token_losses


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
        or choose_batch_tokens(model, window_tokens=settings.corpus.window_tokens),
    )
    for batch in batches:
        losses = token_losses(model, [list(windows[index].ids) for index in batch])
        for index, of_window in zip(batch, losses, strict=True):
            window = windows[index]
            row = perplexity_row(of_window)
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
                    "score": row.mean_loss,
                    "score_weight": float(row.tokens),
                    "reason": row.reason,
                }
            )
        progress(len(rows), len(windows))
    return sorted(rows, key=lambda row: row["item_id"])
