"""Measures losses on the held-out shards or on a text file (paper §4.3).

Each row also has the divergence of the model from the base model.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, compress
from typing import TYPE_CHECKING, cast

from assets.evaluation.answers import EvaluationPartition
from assets.evaluation.stage import EVALUATION_RESULTS, OF_TEXTS
from assets.inputs import Expected, Input, fingerprints_of, partition_inputs
from assets.outputs import OutputRows
from assets.shard_texts import documents_in, windows_of
from assets.stale_scores import IDENTITY, identity_of
from toolformer.base.digests import digest, hex_digest_of_file
from toolformer.calls import call_open_id
from toolformer.errors import ToolformerError
from toolformer.evaluation.modes import DISABLED
from toolformer.forward.batching import feed_in_halves, plan_batches
from toolformer.forward.model import Model
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, split_into_windows
from toolformer.home.wiring.benchmarks import read_text, text_file
from toolformer.home.wiring.models import base_model, load_base_for_comparison
from toolformer.scoring.losses import token_losses
from toolformer.settings.evaluation_sections import BASE, PERPLEXITY

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Losses(EvaluationPartition):
    """Losses of a text or of the held-out shards, with calls disabled.

    Disabled calls mean that p(` [`) is 0, so every model's mean leaves out tokens ` [` (§4.2).
    """

    held_out: Sequence[str]

    def expected(self) -> Expected:
        settings, documents = self.run.settings, self._documents()
        parts = {
            # Read the identity each time: another run may train the model while this one waits.
            IDENTITY: identity_of(self.model, settings),
            "held_out_documents": fingerprints_of(documents),
            "file": None if documents else hex_digest_of_file(text_file(self.name, settings)),
        }
        if self.model.name != BASE:
            base = base_model(self.run)
            parts["base"] = None if base.is_served else base.identity(settings)
        fingerprint = EVALUATION_RESULTS.fingerprint(settings, parts, paths=OF_TEXTS)
        return Expected(fingerprint, tuple(documents.values()))

    def compute(self, expected: Expected) -> OutputRows:
        model = self.load(precision="float32")
        shards = sorted(document.shard for document in expected.inputs)
        windows = self._chosen(self._windows(model.tokenizer, shards))
        settings = self.run.settings
        batches = plan_batches(
            [len(window.ids) for window in windows],
            token_budget=settings.scoring.token_budget
            or model.batch_tokens(window_tokens=settings.corpus.window_tokens),
        )
        base = load_base_for_comparison(model, self.model, self.run)
        rows: list[dict] = []
        for batch in batches:
            of_batch = [windows[index] for index in batch]
            rows += feed_in_halves(of_batch, partial(_loss_rows, model, base))[0]
            self.progress(len(rows), len(windows))
        return OutputRows(self.rows(model, sorted(rows, key=lambda row: row["item_id"])))

    def _documents(self) -> dict[str, Input]:
        if self.name != PERPLEXITY:
            return {}
        documents = partition_inputs(self.run.warehouse, "documents", self.held_out)
        if not documents:
            raise ToolformerError(
                "There is no held-out shard with documents, so perplexity cannot be measured. "
                "Expected at least corpus.held_out_every shards: lower held_out_every, or set a "
                "smaller corpus.shard_size before the first ingest, and build the shards. Or "
                "remove `perplexity` from evaluation.benchmarks."
            )
        return documents

    def _windows(self, tokenizer: Tokenizer, shards: Sequence[str]) -> Iterable[Window]:
        settings = self.run.settings
        window_tokens = settings.corpus.window_tokens
        if self.name != PERPLEXITY:
            text = read_text(self.name, settings)
            return split_into_windows(self.name, text, tokenizer, window_tokens=window_tokens)
        return chain.from_iterable(
            windows_of(
                documents_in(self.run.warehouse, shard), tokenizer, window_tokens=window_tokens
            )
            for shard in shards
        )

    def _chosen(self, windows: Iterable[Window]) -> list[Window]:
        """Choose windows by seeded rank, which does not depend on the other windows."""
        evaluation = self.run.settings.evaluation

        def rank(window: Window) -> bytes:
            return digest(evaluation.seed, *window.key, size=8, separator=" ")

        chosen = sorted(windows, key=rank)[: evaluation.perplexity_windows]
        if not chosen:
            raise ToolformerError(
                "The text is empty, so there is no loss to measure. Expected a text in UTF-8. "
                "Correct the path in evaluation.texts."
            )
        return chosen


def _loss_rows(model: Model, base: "LanguageModel | None", windows: Sequence[Window]) -> list[dict]:
    """Return rows without benchmark, model and precision."""
    texts = [list(window.ids) for window in windows]
    # Decoding with calls disabled never opens a call, so ` [` is left out of texts too.
    banned = call_open_id(model.tokenizer)
    if base is None:
        found = [(losses, []) for losses in token_losses(model, texts, banned=banned)]
    else:
        found = cast("LanguageModel", model).losses_and_divergences(base, texts, banned=banned)
    rows = []
    for window, ids, of_window in zip(windows, texts, found, strict=True):
        counted = [token != banned for token in ids]
        losses, divergences = (list(compress(each, counted)) for each in of_window)
        rows.append(
            {
                "item_id": f"{window.document_id}-{window.index}",
                **DISABLED.entries,
                "metric": "perplexity",
                "prompt": window.text,
                "output": "",
                "gold": "",
                **mean_loss(losses),
                "divergence_from_base": mean_loss(divergences)["score"],
            }
        )
    return rows


def mean_loss(losses: Sequence[float]) -> dict:
    """Return the mean loss per token in nats; if there is none, the reason."""
    if not losses:
        return {"score": None, "score_weight": 0.0, "reason": "empty"}
    is_finite = all(map(math.isfinite, losses))
    return {
        "score": math.fsum(losses) / len(losses) if is_finite else None,
        "score_weight": float(len(losses)),
        "reason": None if is_finite else "non_finite_loss",
    }
