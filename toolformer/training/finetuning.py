"""Finetunes a model on C* with the standard language modelling loss (paper §2, §4.1).

The loss covers all tokens, including calls and results. Each text is a row of its own and starts
with a beginning-of-sequence token, as in scoring.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from transformers import GenerationConfig

from toolformer.base.atomic_files import atomic_folder
from toolformer.base.model_files import RECORD_FILE
from toolformer.errors import TrainingError
from toolformer.forward.chat_template import plain_template
from toolformer.forward.start_token import start_token
from toolformer.forward.tokenization import load_tokenizer
from toolformer.training.learning_rates import ChosenRate, train_at_chosen_rate, trial_folder
from toolformer.training.low_rank import merge_adapters
from toolformer.training.progress import Progress, StepReport
from toolformer.training.training_job import TrainingJob
from toolformer.training.training_processes import train_job
from toolformer.training.training_rows import PROMPT
from toolformer.training.training_state import TrainingState, clear_state, writing
from tools.model_identity import model_identity

_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def finetune(
    job: TrainingJob,
    output: Path,
    *,
    rates: Sequence[float] = (),
    facts: Mapping[str, object],
    report: Callable[[StepReport], None],
    report_trial: Callable[[float], Callable[[StepReport], None]] = lambda _: lambda _: None,
    report_rate: Callable[[ChosenRate], None] = lambda _: None,
) -> Progress:
    """Train a model and store its best checkpoint in `output`, which is replaced atomically.

    Development losses are measured at regular intervals and after the last step, and training
    stops early after three measurements without a new best. A killed run resumes from its last
    saved state. On the same devices, it gives the same results as an uninterrupted run; on more or
    fewer devices, the results differ by rounding.

    The paper (§4.1) uses batches of 128, a learning rate of 1e-5, linear warm-up over 10 % of the
    steps, and at most 2,000 steps with evaluations every 500. AdamW without weight decay, its
    betas and gradient clipping are our choice.

    Args:
        job: The training. Its state is removed once the output is complete.
        rates: Learning rates to try, in descending order; empty uses the job's rate.
        facts: Facts about the rows to record in the output's `toolformer.json`.
        report: Called first for each completed step of an interrupted run, then after every step.
    """
    _check_output(output)
    base = model_identity(job.base)
    folders = [job.state_folder, *(trial_folder(job, rate) for rate in rates)]
    tried = {}
    if rates:
        chosen, progress = train_at_chosen_rate(job, rates, report, report_trial)
        report_rate(chosen)
        job, trials = chosen.job, [asdict(trial) for trial in chosen.trials]
        tried = {"learning_rates": {"summary": chosen.summary, "trials": trials}}
    else:
        progress = train_job(job, report)
    if model_identity(job.base) != base:
        # Some trials or steps may have used the old base model and others the new one.
        for folder in folders:
            clear_state(folder)
        raise TrainingError(
            f"The base model in {str(job.base)!r} was replaced during training. No model was "
            "stored. Run the same command again to train the new base model."
        )
    state = TrainingState(job.state_folder, fingerprint=job.digest)
    best = progress.best
    # Contains no times: the record is part of the model's identity, which must be reproducible.
    record = {
        "fingerprint": job.fingerprint,
        "base": job.base.name,
        "bos_token": job.bos_token,
        "precision": job.precision,
        "parameters": job.recorded_settings,
        "rows": len(job.rows),
        "facts": dict(facts),
        **tried,
        "result": {
            "steps": progress.step,
            "best_step": best.step,
            "base_loss": progress.base.mean,
            "best_loss": best.development_loss,
            "base_perplexity": progress.base.perplexity,
            "best_perplexity": best.development_perplexity,
            "tokens": progress.tokens,
        },
        "history": [asdict(step) for step in progress.history],
    }
    checkpoint = state.checkpoint(best.step)
    with writing(output), atomic_folder(output) as folder:
        if job.settings.lora_rank is None:
            shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
        else:
            merge_adapters(job.base, checkpoint, folder, rank=job.settings.lora_rank)
        tokenizer = load_tokenizer(job.base)
        if not any(PROMPT in row.kinds for row in job.rows):
            # The model never saw calls after the base model's template, so it would rarely call.
            start = start_token(tokenizer, job.bos_token)
            tokenizer.backend.chat_template = plain_template(tokenizer, start)
        tokenizer.backend.save_pretrained(folder)
        # Keep the special tokens of the base model's generation config, but not its sampling.
        inherited = GenerationConfig.from_pretrained(folder)
        tokens = {name: getattr(inherited, name) for name in _TOKENS}
        GenerationConfig(**tokens).save_pretrained(folder)
        (folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n")
    for folder in folders:
        clear_state(folder)
    return progress


def _check_output(output: Path) -> None:
    """Raise if the output cannot be written, before hours of training."""
    is_empty_folder = output.is_dir() and not any(output.iterdir())
    if output.exists() and not is_empty_folder and not (output / RECORD_FILE).exists():
        raise TrainingError(
            f"{str(output)!r} is not empty and contains no {RECORD_FILE}, so it is not a finetuned "
            "model and is not overwritten. Choose another output folder or move this one away."
        )
    probe = output.parent / f".{output.name}.trial.tmp"
    with writing(output):
        probe.mkdir(parents=True, exist_ok=True)
        probe.rmdir()
