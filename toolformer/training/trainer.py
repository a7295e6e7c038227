"""One process of a finetuning run: a model, its optimiser, and the steps (paper §4.1).

Alone or with others, the rows of a step follow from seed and step, and its loss is the mean over
all tokens of the batch, whoever fed them.
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
    ALIKE,
    CALLS_ALONE,
    add_gradient,
    summed_losses,
    total_weight,
)
from toolformer.training.training_rows import TEXT, TrainingRow, batch_rows
from toolformer.training.training_state import TrainingState

_ADAM_BETAS = (0.9, 0.999)


class Trainer:
    """A model, its optimiser and its rows.

    Args:
        job: the same in all processes that train together.
        device: device of this process; that of the job by default.
        group: these processes; this one alone by default.

    Raises:
        TrainingError: rows of another model, or a model that the parameters do not fit.
        ModelNotFoundError: there is no usable model to begin with.
    """

    def __init__(
        self, job: TrainingJob, *, device: str | None = None, group: ProcessGroup | None = None
    ):
        device = device or job.device
        settings = job.settings
        self._group = group or ProcessGroup()
        self.model = LanguageModel.load(
            job.base,
            # Small steps get lost in bfloat16 weights: what is trained is float32, whatever is
            # computed in. What only stands beside adapters is not.
            precision="float32" if settings.lora_rank is None else job.precision,
            # A device need not hold the whole model: its part is moved there layer by layer.
            device=device if self._group.size == 1 else "cpu",
            bos_token=job.bos_token,
        )
        self._job, self._settings = job, settings
        self._check_fit()
        if settings.lora_rank is not None:
            # The same ones in all processes.
            torch.manual_seed(_seed(settings.seed, "adapters"))
            add_adapters(self.model.model, rank=settings.lora_rank)
        if settings.gradient_checkpointing:
            _enable_checkpointing(self.model.model)
        self._group.divide(self.model.model, job.precision)
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
            # In place of a copy of the largest weight per step.
            fused=self.model.device.type in ("cpu", "cuda"),
        )
        # Made now, so that those of a saved state can be put in their place.
        for weight in self._weights.values():
            self._optimizer.state[weight] = {
                "step": torch.zeros((), device=weight.device),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }

    def run(self, state: TrainingState, report: Callable[[StepReport], None]) -> Progress:
        """Do the steps that are left, fewer where three measurements in a row were no better.

        Args:
            state: state of the run, which is not over; made with the same group.
            report: called after every step, and first for those that were done before.

        Raises:
            DivergedError: a loss is not finite.
            TrainingError: the disk is full.
            CheckpointError: the saved state is damaged.
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
                # A run that is over needs no weights to go on.
                state.save({} if is_over else self._weights, self._optimizer, progress)
            report(progress.history[-1])
        return progress

    def _step(self, step: int) -> tuple[float, int]:
        """One optimiser step; the mean loss of its batch and the number of its tokens."""
        rows, settings = self._job.rows, self._settings
        indices = batch_rows(
            len(rows), batch_size=settings.batch_size, step=step, seed=settings.seed
        )
        batch = [rows[index] for index in indices]
        batch_weight = total_weight(batch, settings.loss_weights)
        # A generator of its own for every step, so that a resumed run draws the same numbers; and
        # in every process, whose rows are others.
        drawn = (step, self._group.rank) if self._group.rank else (step,)
        torch.manual_seed(_seed(settings.seed, *drawn))
        self.model.model.train()
        own_loss = 0.0
        for group in self._micro_batches([len(row.ids) for row in batch]):
            own_loss += add_gradient(
                self.model,
                [batch[index] for index in group] or [self._weightless],
                weights=settings.loss_weights,
                # Nothing of a row is left that is divided by this.
                batch_weight=batch_weight if group else math.inf,
                precision=self._job.precision,
                with_weights=self._group.with_weights,
            )
        loss = self._group.total(own_loss)
        norm: Any = torch.nn.utils.clip_grad_norm_(self._weights.values(), settings.clip_norm)
        # Where each process holds a part of every weight, the norm has parts too.
        norm = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        for name, value in (("training loss", loss), ("norm of the gradient", norm)):
            if not math.isfinite(value):
                raise _not_finite(step, name, value)
        for group in self._optimizer.param_groups:
            group["lr"] = self._job.learning_rate_at(step)
        self._optimizer.step()
        # Freed before anything is evaluated or saved: as large as the weights.
        self._optimizer.zero_grad(set_to_none=True)
        return loss, sum(len(row.ids) for row in batch)

    def _development_loss(self, step: int) -> DevelopmentLoss:
        rows, weights = self._job.development, self._settings.loss_weights
        # A call of `shuffled` may not fit into its row, and texts may count nothing in training.
        weights = weights if total_weight(rows.with_calls, weights) else ALIKE
        with_calls, calls = self._mean_losses(rows.with_calls, [weights, CALLS_ALONE])
        [without_calls] = self._mean_losses(rows.without_calls, [ALIKE])
        has_calls = total_weight(rows.with_calls, CALLS_ALONE) > 0
        measured = DevelopmentLoss(with_calls, without_calls, calls if has_calls else None)
        if not math.isfinite(measured.mean):
            raise _not_finite(step, "development loss", measured.mean)
        return measured

    def _mean_losses(
        self, rows: Sequence[TrainingRow], weights: Sequence[LossWeightsSettings]
    ) -> list[float]:
        """Return the mean loss by each of these weights; 0 if no token of the rows has any."""
        self.model.model.eval()
        summed: list[list[float]] = []
        for group in self._micro_batches([len(row.ids) for row in rows]):
            losses = summed_losses(
                self.model,
                [rows[index] for index in group] or [self._weightless],
                weights=weights,
                precision=self._job.precision,
                with_weights=self._group.with_weights,
            )
            if group:
                summed.append(losses)
        totals = [
            self._group.total(math.fsum(losses[index] for losses in summed))
            for index in range(len(weights))
        ]
        return [
            total / (total_weight(rows, each) or 1.0)
            for total, each in zip(totals, weights, strict=True)
        ]

    def _micro_batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """The rows that this process feeds at once; empty ones where the others feed more often."""
        plans = [
            micro_batches(lengths, process, self._group.size, self._settings.micro_batch_tokens)
            for process in range(self._group.size)
        ]
        own = plans[self._group.rank]
        return own + [[] for _ in range(max(map(len, plans)) - len(own))]

    @property
    def _weightless(self) -> TrainingRow:
        """A row to feed for the others' sake."""
        return TrainingRow((self.model.bos_id,), bytes([TEXT]))

    def _save_checkpoint(self, state: TrainingState, progress: Progress) -> None:
        if self._settings.lora_rank is None:
            tensors = self._group.whole(self.model.model.state_dict(keep_vars=True))
            write = partial(self.model.model.save_pretrained, state_dict=tensors)
        else:
            write = partial(save_adapters, self._group.whole(self._weights))
        state.save_checkpoint(progress, write)

    def _check_fit(self) -> None:
        development = self._job.development
        rows = [*self._job.rows, *development.with_calls, *development.without_calls]
        longest = max(len(row.ids) for row in rows)
        if longest > self.model.context_length:
            raise TrainingError(
                f"A row has {longest} tokens, but {self.model.name!r} takes at most "
                f"{self.model.context_length}. Set training.max_tokens to at most that."
            )


def micro_batches(
    lengths: Sequence[int], process: int, processes: int, token_budget: int
) -> list[list[int]]:
    """The rows that one process feeds at once, as indices into `lengths`.

    Rows are dealt out to the processes from the longest to the shortest, so that each has about as
    many tokens.

    Args:
        lengths: tokens of each row of the whole batch.
        process: number of the process, from 0.
        processes: how many share the batch.

    Example:
        >>> micro_batches([9, 4, 4, 8], 0, 2, token_budget=8)
        [[0], [1]]
        >>> micro_batches([9, 4], 2, 3, token_budget=9)
        []
    """
    own = sorted(longest_first(lengths)[process::processes])
    batches = plan_batches([lengths[row] for row in own], token_budget=token_budget)
    return [[own[index] for index in batch] for batch in batches]


def _not_finite(step: int, name: str, value: float) -> TrainingError:
    what = f"The {name} at step {step} is {value}; expected a finite number."
    if step == 0:
        return TrainingError(f"{what} Look at the weights of the base model and at the texts.")
    return DivergedError(
        f"{what} Set a smaller training.learning_rate, or float32 as training.precision."
    )


def _seed(*parts: object) -> int:
    return int(hex_digest(*parts)[:15], 16)


def _enable_checkpointing(model: Any) -> None:
    # transformers 5 renamed it and warns on the old name; its earlier releases know only that.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
