"""Runs the training loop of one process: model, optimiser and steps (paper §4.1).

Seed and step number determine the rows of a batch, whatever the number of processes. The loss
is the weighted mean over all tokens of the batch, across processes.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from toolformer.base.digests import hex_digest
from toolformer.errors import DivergedError, TrainingError
from toolformer.forward.batching import longest_first, plan_batches
from toolformer.forward.language_model import LanguageModel
from toolformer.settings.training_sections import LossWeightsSettings
from toolformer.training.low_rank import add_adapters, save_adapters
from toolformer.training.process_group import ProcessGroup
from toolformer.training.progress import DevelopmentLoss, Progress, StepReport
from toolformer.training.training_job import TrainingJob
from toolformer.training.training_loss import (
    CALLS_ONLY,
    EQUAL_WEIGHTS,
    add_gradient,
    summed_losses,
    total_weight,
)
from toolformer.training.training_rows import TEXT, TrainingRow, batch_rows
from toolformer.training.training_state import TrainingState

_ADAM_BETAS = (0.9, 0.999)


class Trainer:
    def __init__(
        self, job: TrainingJob, *, device: str | None = None, group: ProcessGroup | None = None
    ):
        device = device or job.device
        settings = job.settings
        self._group = group or ProcessGroup()
        self.model = LanguageModel.load(
            job.base,
            # Small updates are lost in bfloat16, so trained weights are float32 whatever the
            # precision of the computation. The frozen weights of a LoRA run need not be.
            precision="float32" if settings.lora_rank is None else job.precision,
            # With several processes, no device has to hold the whole model. Its shard is moved
            # to the device layer by layer.
            device=device if self._group.size == 1 else "cpu",
            bos_token=job.bos_token,
        )
        self._job, self._settings = job, settings
        self._check_fit()
        if settings.lora_rank is not None:
            # All processes must draw the same adapters.
            torch.manual_seed(_seed(settings.seed, "adapters"))
            add_adapters(self.model.model, rank=settings.lora_rank)
        if settings.gradient_checkpointing:
            _enable_checkpointing(self.model.model)
        self._group.shard(self.model.model, job.precision)
        self._weights = {
            name: weight
            for name, weight in self.model.model.named_parameters()
            if weight.requires_grad
        }
        self._optimizer = torch.optim.AdamW(
            self._weights.values(),
            lr=job.learning_rate,
            betas=_ADAM_BETAS,
            weight_decay=0.0,
            # Avoids a copy of the largest weight at every step.
            fused=self.model.device.type in ("cpu", "cuda"),
        )
        # Created now, so that a saved state can be loaded into these tensors.
        for weight in self._weights.values():
            self._optimizer.state[weight] = {
                "step": torch.zeros((), device=weight.device),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }

    def run(self, state: TrainingState, report: Callable[[StepReport], None]) -> Progress:
        """Run the remaining steps of an unfinished run, or fewer if training stops early.

        `report` first gets the completed steps of an interrupted run, then each new step.
        """
        job, began = self._job, time.monotonic()
        progress = state.load_progress()
        if progress is None:
            progress = Progress(base=job.base_loss or self._development_loss(0))
        else:
            state.restore(self._weights, self._optimizer, progress)
        began -= progress.seconds
        for done in progress.history:
            report(done)
        while not progress.is_over(job.steps):
            step = progress.step + 1
            loss, tokens = self._step(step)
            measured, is_scheduled = None, job.is_evaluated(step)
            if is_scheduled or step == job.trial_steps:
                measured = self._development_loss(step)
            if step == job.trial_steps:
                progress.trial = measured
            if not is_scheduled:
                measured = None
            progress.history.append(
                StepReport(
                    step=step,
                    loss=loss,
                    learning_rate=job.learning_rate_at(step),
                    tokens=progress.tokens + tokens,
                    development_perplexity=measured and measured.perplexity,
                    development_loss=measured and measured.mean,
                    call_loss=measured and measured.calls,
                )
            )
            if progress.step in progress.candidates:
                self._save_checkpoint(state, progress)
            progress.seconds = time.monotonic() - began
            is_over = progress.is_over(job.steps)
            if is_over or step % self._settings.save_every == 0:
                # A finished run has no steps to resume, so its weights are not saved.
                state.save({} if is_over else self._weights, self._optimizer, progress)
            report(progress.history[-1])
        return progress

    def _step(self, step: int) -> tuple[float, int]:
        """Do one optimiser step and return the mean loss and the number of tokens of its batch."""
        rows, settings = self._job.rows, self._settings
        indices = batch_rows(
            len(rows), batch_size=settings.batch_size, step=step, seed=settings.seed
        )
        batch = [rows[index] for index in indices]
        batch_weight = total_weight(batch, settings.loss_weights)
        # Seed each step anew, so that a resumed run draws the same dropout masks. Processes have
        # different seeds because they have different rows.
        seed_parts = (step, self._group.rank) if self._group.rank else (step,)
        torch.manual_seed(_seed(settings.seed, *seed_parts))
        self.model.model.train()
        own_loss = 0.0
        for group in self._micro_batches([len(row.ids) for row in batch]):
            own_loss += add_gradient(
                self.model,
                [batch[index] for index in group] or [self._dummy_row],
                weights=settings.loss_weights,
                # Dividing by infinity removes the dummy row from loss and gradient.
                batch_weight=batch_weight if group else math.inf,
                precision=self._job.precision,
                with_full_weights=self._group.with_full_weights,
            )
        loss = self._group.sum(own_loss)
        norm: Any = torch.nn.utils.clip_grad_norm_(self._weights.values(), settings.clip_norm)
        # The norm of sharded weights is itself a DTensor.
        norm = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        for name, value in (("training loss", loss), ("norm of the gradient", norm)):
            if not math.isfinite(value):
                raise _not_finite(step, name, value)
        for group in self._optimizer.param_groups:
            group["lr"] = self._job.learning_rate_at(step)
        self._optimizer.step()
        # Gradients are as large as the weights, so free them before evaluating or saving.
        self._optimizer.zero_grad(set_to_none=True)
        return loss, sum(len(row.ids) for row in batch)

    def _development_loss(self, step: int) -> DevelopmentLoss:
        rows, weights = self._job.development, self._settings.loss_weights
        # The weights can all be 0: text tokens may have none, and truncation of the variant
        # `shuffled` may have removed every call.
        weights = weights if total_weight(rows.with_calls, weights) else EQUAL_WEIGHTS
        with_calls, calls = self._mean_losses(rows.with_calls, [weights, CALLS_ONLY])
        [without_calls] = self._mean_losses(rows.without_calls, [EQUAL_WEIGHTS])
        has_calls = total_weight(rows.with_calls, CALLS_ONLY) > 0
        measured = DevelopmentLoss(with_calls, without_calls, calls if has_calls else None)
        if not math.isfinite(measured.mean):
            raise _not_finite(step, "development loss", measured.mean)
        return measured

    def _mean_losses(
        self, rows: Sequence[TrainingRow], weights: Sequence[LossWeightsSettings]
    ) -> list[float]:
        """Return the mean loss per set of weights, or 0 for a set that gives no token weight."""
        self.model.model.eval()
        summed: list[list[float]] = []
        for group in self._micro_batches([len(row.ids) for row in rows]):
            losses = summed_losses(
                self.model,
                [rows[index] for index in group] or [self._dummy_row],
                weights=weights,
                precision=self._job.precision,
                with_full_weights=self._group.with_full_weights,
            )
            if group:
                summed.append(losses)
        totals = [
            self._group.sum(math.fsum(losses[index] for losses in summed))
            for index in range(len(weights))
        ]
        return [
            total / (total_weight(rows, each) or 1.0)
            for total, each in zip(totals, weights, strict=True)
        ]

    def _micro_batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return this process's micro-batches, padded with empty ones to the longest plan."""
        plans = [
            micro_batches(lengths, process, self._group.size, self._settings.micro_batch_tokens)
            for process in range(self._group.size)
        ]
        own = plans[self._group.rank]
        return own + [[] for _ in range(max(map(len, plans)) - len(own))]

    @property
    def _dummy_row(self) -> TrainingRow:
        """Row for an empty micro-batch, which this process runs while others still have rows."""
        return TrainingRow((self.model.bos_id,), bytes([TEXT]))

    def _save_checkpoint(self, state: TrainingState, progress: Progress) -> None:
        if self._settings.lora_rank is None:
            tensors = self._group.gather(self.model.model.state_dict(keep_vars=True))
            write = partial(self.model.model.save_pretrained, state_dict=tensors)
        else:
            write = partial(save_adapters, self._group.gather(self._weights))
        state.save_checkpoint(progress, write)

    def _check_fit(self) -> None:
        development = self._job.development
        rows = [*self._job.rows, *development.with_calls, *development.without_calls]
        longest = max(len(row.ids) for row in rows)
        if longest > self.model.context_length:
            raise TrainingError(
                f"The longest row has {longest} tokens, but the context of {self.model.name!r} is "
                f"{self.model.context_length} tokens. Lower training.max_tokens to at most "
                f"{self.model.context_length}."
            )


def micro_batches(
    lengths: Sequence[int], process: int, processes: int, token_budget: int
) -> list[list[int]]:
    """Return the micro-batches of one process (from 0) as indices into `lengths`.

    Rows are dealt to the processes from longest to shortest, so each gets about as many tokens.

    Example:
        >>> micro_batches([9, 4, 4, 8], 0, 2, token_budget=8)
        [[0], [1]]
    """
    own = sorted(longest_first(lengths)[process::processes])
    batches = plan_batches([lengths[row] for row in own], token_budget=token_budget)
    return [[own[index] for index in batch] for batch in batches]


def _not_finite(step: int, name: str, value: float) -> TrainingError:
    what = f"The {name} at step {step} is {value}; expected a finite number."
    if step == 0:
        return TrainingError(f"{what} Check the weights of the base model and the training texts.")
    return DivergedError(
        f"{what} Set a smaller training.learning_rate, or set training.precision to float32."
    )


def _seed(*parts: object) -> int:
    return int(hex_digest(*parts)[:15], 16)


def _enable_checkpointing(model: Any) -> None:
    # transformers 5 renamed the method and warns about the old name, which older releases need.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
