"""Plans a training: its rows, and the number of steps (paper §4.1)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import polars as pl

from assets.inputs import Input, stored_input
from assets.training.training_inputs import LEFT_OUT
from toolformer.augmentation import KeptCall
from toolformer.errors import ToolformerError
from toolformer.forward.tokenization import load_tokenizer
from toolformer.home.wiring.models import base_model_directory
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.training_sections import PLAIN
from toolformer.training.chats import Chats, chat_formatter
from toolformer.training.training_rows import DevelopmentRows
from toolformer.training.variant_rows import TextWithCalls, VariantRows, variant_rows
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class PlannedTraining:
    """Rows and steps of a training; `call_writers` counts kept calls as `call_writers.sql` does."""

    rows: VariantRows
    development: DevelopmentRows
    batch_size: int
    steps: int
    call_writers: Mapping[str, int]
    chats: str = ""

    @property
    def summary(self) -> str:
        rows = self.rows.rows
        epochs = self.steps * self.batch_size / max(len(rows), 1)
        tokens = round(sum(len(row.ids) for row in rows) * epochs)
        return (
            f"{len(rows):,} texts with {sum(self.rows.calls.values()):,} calls; {self.steps:,} "
            f"steps of {self.batch_size} texts, {epochs:.1f} epochs, about {tokens:,} tokens"
            f"{self.chats}"
        )

    def check_size(self, min_texts: int) -> None:
        """Raise if the training set is so small that the model would only memorise it."""
        texts = len(self.rows.rows)
        if texts < min_texts:
            raise ToolformerError(
                f"The training set has {texts} texts, which a model would only memorise. Expected "
                f"at least {min_texts} (training.min_texts). Build more shards or lower the "
                "filtering thresholds (tools.*.filtering_threshold). To train anyway, use "
                "`toolformer train --force`, or `force: true` in the Launchpad."
            )


def planned_training(work: Workspace) -> PlannedTraining:
    """Plan a training with these settings; raise without a usable training set."""
    stored_training_set(work.warehouse)
    texts = work.warehouse.read_partition("training_texts", ALL, ALL)
    train = texts.filter(split="train")
    if train.is_empty():
        raise _empty_error(work)
    training, tokenizer = work.settings.training, load_tokenizer(base_model_directory(work))
    rows_of = partial(variant_rows, tokenizer, max_tokens=training.max_tokens, seed=training.seed)
    chats = chat_formatter(tokenizer, work.settings)
    rows = rows_of(_texts_with_calls(train, chats), training.variant, chats=chats)
    chat_remark = ""
    if training.chat_share:
        none = "; the model has no chat template that takes a question, so no text is a chat"
        chat_remark = none if chats is None else f"; {rows.chats:,} of the texts are chats"
    # Development texts are never chats, so that losses do not depend on the share of chats.
    development = _texts_with_calls(texts.filter(split="development"), None)
    return PlannedTraining(
        rows,
        DevelopmentRows(
            rows_of(development, training.variant).rows, rows_of(development, PLAIN).rows
        ),
        training.batch_size,
        training.steps
        or planned_steps(len(rows.rows), batch_size=training.batch_size, epochs=training.epochs),
        dict(work.warehouse.ask("call_writers", round=None).iter_rows()),
        chat_remark,
    )


def planned_steps(texts: int, *, batch_size: int, epochs: float) -> int:
    return max(1, math.ceil(epochs * texts / batch_size))


def stored_training_set(warehouse: Warehouse, table: str = "training_texts") -> Input:
    """Return the stored training set, or its exclusions, without rows; raise if there is none."""
    stored = stored_input(warehouse, table, ALL, ALL)
    if stored is None:
        raise ToolformerError("There is no training set yet. Materialise `training_set` first.")
    return stored


def _empty_error(work: Workspace) -> ToolformerError:
    stored = work.warehouse.partition_metadata("training_texts", ALL, ALL) or {}
    reasons = [f"{name} {count}" for name, count in stored.items() if name.startswith(LEFT_OUT)]
    return ToolformerError(
        "The training set holds no text to train on"
        f" ({'; '.join(reasons) or 'no call was kept'}). Build more shards, or lower the "
        "filtering thresholds (tools.*.filtering_threshold)."
    )


def _texts_with_calls(rows: pl.DataFrame, chats: Chats | None) -> list[TextWithCalls]:
    return [
        TextWithCalls(
            row["text"],
            row["context"],
            tuple(KeptCall(**call) for call in row["calls"]),
            row["window_index"] > 0,
            None if chats is None else chats.draw((row["document_id"], row["window_index"])),
        )
        for row in rows.iter_rows(named=True)
    ]
