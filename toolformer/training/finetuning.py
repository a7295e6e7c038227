"""Finetuning on C* with the ordinary language modelling loss (paper §2, §4.1; spec §5).

All tokens count, calls and results included; a beginning-of-sequence token stands in front, as
in scoring, and each text is a row of its own. Does not choose the texts and does not tokenise.
"""

import json
import math
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolformer.errors import TrainingError
from toolformer.forward.batching import plan_batches
from toolformer.forward.language_model import LanguageModel, resolve_precision
from toolformer.ground.digests import digest_of_bytes, hex_digest
from toolformer.ground.kept_digests import keep_digests
from toolformer.training.finetuning_parameters import FinetuningParameters
from toolformer.training.training_loss import add_gradient, summed_loss
from toolformer.training.training_rows import TrainingRow, batch_rows
from toolformer.training.training_state import (
    Progress,
    StepReport,
    TrainingState,
    write_folder_whole,
    writing,
)

__all__ = ["FinetuningParameters", "FinetuningResult", "StepReport", "finetune"]

RECORD_FILE = "toolformer.json"
_ADAM_BETAS = (0.9, 0.999)


@dataclass(frozen=True, slots=True)
class FinetuningResult:
    """What came out.

    Attributes:
        steps: optimiser steps done.
        best_step: the step whose weights were kept.
        base_perplexity: development perplexity of the base model.
        best_perplexity: development perplexity of the weights that were kept.
        tokens: tokens trained on.
        seconds: time spent, interrupted runs of the same work included.
    """

    steps: int
    best_step: int
    base_perplexity: float
    best_perplexity: float
    tokens: int
    seconds: float


def finetune(
    base: Path,
    output: Path,
    train_rows: Sequence[TrainingRow],
    development_rows: Sequence[Sequence[int]],
    *,
    parameters: FinetuningParameters,
    bos_token: str | None,
    resume_folder: Path,
    fingerprint: str,
    facts: Mapping[str, object],
    report: Callable[[StepReport], None],
    device: str = "auto",
) -> FinetuningResult:
    """Train a model and keep its best checkpoint.

    Every `evaluate_every` steps and at the end the perplexity on the development rows is measured;
    the checkpoint with the lowest one wins, the earlier of two equal ones. The base model is
    measured too but is no candidate. A killed run goes on from its last saved state, with the
    numbers of an undisturbed one on the same device.

    Args:
        base: directory of the model to begin with; stays as it is.
        output: directory of the finetuned model; appears whole, replaces an earlier one.
        train_rows: what to train on.
        development_rows: ids of plain texts without calls.
        parameters: how to train.
        bos_token: text of the token in front of every row; None: the one used in scoring.
        resume_folder: where the state of the run lies; emptied when the output is there.
        fingerprint: of what the rows were made from; stands in the output's `toolformer.json`.
        facts: what else the output's `toolformer.json` shall say of the rows.
        report: called after every step, and first for the steps of an interrupted run.
        device: `auto`, `cpu` or a CUDA device.

    Raises:
        TrainingError: nothing to train or measure on, rows of another model, a loss that is not
            finite, or a folder that cannot be written.
        ModelNotFoundError: `base` holds no usable model.
        CheckpointError: the saved state is damaged.

    Paper:
        §4.1: batch 128, learning rate 1e-5, linear warmup over the first 10 %, at most 2,000
        steps, evaluation every 500. AdamW without decay, betas, clipping: ours (spec §5 `[D]`).
    """
    rows = [row for row in train_rows if row.ids]
    development = [list(row) for row in development_rows if row]
    _check_rows(rows, development, parameters)
    _check_output(output)
    key = hex_digest(
        fingerprint,
        base.name,
        bos_token,
        parameters,
        *(f"{_digest_ids(row.ids)}{row.kinds.hex()}" for row in rows),
        "",
        *map(_digest_ids, development),
    )
    state = TrainingState(resume_folder, fingerprint=key)

    import torch

    # Dropout draws from the global generators; they are given back as they were.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        trainer = _Trainer(base, rows, development, parameters, bos_token, device)
        progress = trainer.run(state, report)
    if progress.best_step is None or progress.best_perplexity is None:
        raise TrainingError("Training ended without an evaluation; this is a fault of the program.")
    result = FinetuningResult(
        steps=progress.step,
        best_step=progress.best_step,
        base_perplexity=progress.base_perplexity,
        best_perplexity=progress.best_perplexity,
        tokens=progress.tokens,
        seconds=progress.seconds,
    )
    record = {
        "fingerprint": fingerprint,
        "base": base.name,
        "precision": trainer.precision,
        "parameters": asdict(parameters),
        "rows": len(rows),
        "facts": dict(facts),
        "result": asdict(result),
        "history": [asdict(step) for step in progress.history],
    }

    def write(folder: Path) -> None:
        state.copy_best(result.best_step, folder)
        trainer.model.tokenizer.backend.save_pretrained(folder)
        (folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n")
        keep_digests(folder)

    write_folder_whole(output, write)
    state.clear()
    return result


class _Trainer:
    """A model, its optimiser and its rows."""

    def __init__(
        self,
        base: Path,
        rows: Sequence[TrainingRow],
        development: Sequence[list[int]],
        parameters: FinetuningParameters,
        bos_token: str | None,
        device: str,
    ):
        import torch

        # Small steps get lost in bfloat16 weights: they are float32, whatever is computed in.
        self.model = LanguageModel.load(
            base, precision="float32", device=device, bos_token=bos_token
        )
        self._rows = rows
        self._development = development
        self._parameters = parameters
        self.precision = resolve_precision(parameters.precision, str(self.model.device))
        self._check_fit()
        if parameters.gradient_checkpointing:
            _enable_checkpointing(self.model.model)
        self._weights = list(self.model.model.parameters())
        self._optimizer = torch.optim.AdamW(
            self._weights,
            lr=parameters.learning_rate,
            betas=_ADAM_BETAS,
            weight_decay=0.0,
            # In place of a copy of the largest weight per step.
            fused=self.model.device.type in ("cpu", "cuda"),
        )

    def run(self, state: TrainingState, report: Callable[[StepReport], None]) -> Progress:
        """Do the steps that are left."""
        parameters = self._parameters
        began = time.monotonic()
        progress = state.load_progress()
        if progress is None:
            progress = Progress(base_perplexity=self._development_perplexity(0))
        elif progress.step < parameters.steps:
            state.restore(self.model.model, self._optimizer)
        began -= progress.seconds
        for done in progress.history:
            report(done)
        for step in range(progress.step + 1, parameters.steps + 1):
            is_last = step == parameters.steps
            loss, tokens = self._step(step)
            perplexity = None
            if step % parameters.evaluate_every == 0 or is_last:
                perplexity = self._development_perplexity(step)
                if progress.best_perplexity is None or perplexity < progress.best_perplexity:
                    state.save_best(self.model.model, step)
                    progress.best_step, progress.best_perplexity = step, perplexity
            progress.history.append(
                StepReport(
                    step=step,
                    loss=loss,
                    learning_rate=parameters.learning_rate_at(step),
                    tokens=progress.tokens + tokens,
                    development_perplexity=perplexity,
                )
            )
            progress.seconds = time.monotonic() - began
            if is_last:
                state.save_finished(progress)
            elif step % parameters.save_every == 0:
                state.save(self.model.model, self._optimizer, progress)
            report(progress.history[-1])
        return progress

    def _step(self, step: int) -> tuple[float, int]:
        """One optimiser step; the mean loss of its batch and the number of its tokens."""
        import torch

        parameters = self._parameters
        batch = [
            self._rows[index]
            for index in batch_rows(
                len(self._rows), batch_size=parameters.batch_size, step=step, seed=parameters.seed
            )
        ]
        tokens = sum(len(row.ids) for row in batch)
        batch_weight = parameters.loss_weights.total(batch)
        # A generator of its own for every step, so that a resumed run draws the same numbers.
        torch.manual_seed(int(hex_digest(parameters.seed, step)[:15], 16))
        self.model.model.train()
        loss = 0.0
        for group in self._micro_batches([len(row.ids) for row in batch]):
            loss += add_gradient(
                self.model,
                [batch[index] for index in group],
                weights=parameters.loss_weights,
                batch_weight=batch_weight,
                precision=self.precision,
                packs_rows=parameters.packs_rows,
            )
        norm = float(torch.nn.utils.clip_grad_norm_(self._weights, parameters.clip_norm))
        self._check_finite(step, "training loss", loss)
        self._check_finite(step, "norm of the gradient", norm)
        for group in self._optimizer.param_groups:
            group["lr"] = parameters.learning_rate_at(step)
        self._optimizer.step()
        # Freed before anything is evaluated or saved: as large as the weights.
        self._optimizer.zero_grad(set_to_none=True)
        return loss, tokens

    def _development_perplexity(self, step: int) -> float:
        self.model.model.eval()
        losses = [
            summed_loss(
                self.model,
                [self._development[index] for index in group],
                precision=self.precision,
                packs_rows=self._parameters.packs_rows,
            )
            for group in self._micro_batches([len(row) for row in self._development])
        ]
        mean = math.fsum(losses) / sum(map(len, self._development))
        self._check_finite(step, "development loss", mean)
        # Above this the exponential overflows; no model that learns comes near.
        return math.exp(min(mean, 700.0))

    def _micro_batches(self, lengths: Sequence[int]) -> list[list[int]]:
        return plan_batches(
            lengths,
            token_budget=self._parameters.micro_batch_tokens,
            is_padded=not self._parameters.packs_rows,
        )

    def _check_finite(self, step: int, name: str, value: float) -> None:
        if math.isfinite(value):
            return
        remedy = (
            "The base model cannot be measured: look at its weights and at the texts."
            if step == 0
            else "Training diverged: set a smaller training.learning_rate, or float32 as "
            "training.precision."
        )
        raise TrainingError(
            f"The {name} at step {step} is {value}; expected a finite number. {remedy}"
        )

    def _check_fit(self) -> None:
        embeddings: Any = self.model.model.get_input_embeddings()
        vocabulary = int(embeddings.weight.shape[0])
        rows = [*(row.ids for row in self._rows), *self._development]
        largest = max(map(max, rows))
        if largest >= vocabulary:
            raise TrainingError(
                f"A row holds token {largest}, but {self.model.name!r} knows only {vocabulary}. "
                "Expected rows made with this model's tokenizer; build the training set again."
            )
        longest = max(map(len, rows))
        if longest > self.model.context_length:
            raise TrainingError(
                f"A row has {longest} tokens, but {self.model.name!r} takes at most "
                f"{self.model.context_length}. Set training.max_tokens to at most that."
            )
        if self._parameters.packs_rows and not self.model.packs_rows:
            raise TrainingError(
                f"Rows cannot be packed for {self.model.name!r}: {self.model.stock_reason}. Set "
                "training.packs_rows to false."
            )


def _enable_checkpointing(model: Any) -> None:
    # transformers 5 renamed it and warns on the old name; its earlier releases know only that.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})


def _check_rows(
    rows: Sequence[TrainingRow], development: Sequence[object], parameters: FinetuningParameters
) -> None:
    if not rows:
        raise TrainingError(
            "There is no text to train on: no call was kept that fits into training.max_tokens. "
            "Build more shards, lower the filtering thresholds or raise training.max_tokens."
        )
    if weightless := sum(not parameters.loss_weights.total([row]) for row in rows):
        raise TrainingError(
            f"{weightless} of {len(rows)} rows have no token that counts in the loss. Set "
            "training.loss_weights.text above 0; texts without calls consist of nothing else."
        )
    if not development:
        raise TrainingError(
            "There is no text for the development perplexity, by which the best checkpoint is "
            "chosen. Raise training.development_share or build more shards."
        )


def _check_output(output: Path) -> None:
    """Tell before hours of training that the result cannot be put where it shall go."""
    if output.exists() and not (output / RECORD_FILE).exists():
        is_empty_folder = output.is_dir() and not any(output.iterdir())
        if not is_empty_folder:
            raise TrainingError(
                f"{str(output)!r} is there and is no finetuned model (it has no {RECORD_FILE}); it "
                "is not overwritten. Name another output folder or move this one away."
            )
    trial = output.parent / f".{output.name}.trial.tmp"
    with writing(output):
        trial.mkdir(parents=True, exist_ok=True)
        trial.rmdir()


def _digest_ids(ids: Sequence[int]) -> str:
    return digest_of_bytes(array("q", ids).tobytes()).hex()
