"""Finetuning on C* with the ordinary language modelling loss (paper §2, §4.1).

All tokens count, calls and results included; a beginning-of-sequence token stands in front, as
in scoring, and each text is a row of its own.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from transformers import GenerationConfig

from toolformer.base.beside_models import RECORD_FILE
from toolformer.base.whole_files import replacing_folder
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
    """Train a model and keep its best checkpoint.

    At even distances and at the end the losses of the development texts with and without calls are
    measured. `progress.candidates` says which checkpoint is the best; the base model is none. The
    training ends early if three measurements in a row are no better. A killed run goes on from its
    last saved state, with the numbers of an undisturbed one on the same devices; on more or fewer
    of them within rounding.

    Args:
        job: its state is removed when the output is there.
        output: directory of the finetuned model; appears whole, replaces an earlier one.
        rates: learning rates to choose from, in falling order (`train_at_chosen_rate`); none: the
            job's.
        facts: what else the output's `toolformer.json` shall say of the rows.
        report: called after every step, and first for the steps of an interrupted run.
        report_trial: called after the steps of a trial instead; see `train_at_chosen_rate`.

    Raises:
        TrainingError: the base is replaced meanwhile, a loss is not finite, no rate suits, a folder
            cannot be written, there are fewer devices than processes, or a process ended.
        ModelNotFoundError: the job's base holds no usable model.
        CheckpointError: the saved state is damaged.
        OutOfMemoryError: model and micro-batch do not fit the device; saved steps are kept.

    Paper:
        §4.1: batch 128, learning rate 1e-5, linear warmup over the first 10 %, at most 2,000
        steps, evaluation every 500. AdamW without decay, betas, clipping: ours.
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
        # A rate may have been tried, or a run have gone on, with another one than was begun with.
        for folder in folders:
            clear_state(folder)
        raise TrainingError(
            f"The base model in {str(job.base)!r} was replaced by another while it was trained. No "
            "model was stored. Run the same again, with the new one."
        )
    state = TrainingState(job.state_folder, fingerprint=job.digest)
    best = progress.best
    # Without times: it is part of what the model is, and made again the model is the same.
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
    with writing(output), replacing_folder(output) as folder:
        if job.settings.lora_rank is None:
            shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
        else:
            merge_adapters(job.base, checkpoint, folder, rank=job.settings.lora_rank)
        tokenizer = load_tokenizer(job.base)
        if not any(PROMPT in row.kinds for row in job.rows):
            # Behind the base model's template, which it never saw with calls, it hardly calls.
            start = start_token(tokenizer, job.bos_token)
            tokenizer.backend.chat_template = plain_template(tokenizer, start)
        tokenizer.backend.save_pretrained(folder)
        # Of what the base model asks of `generate`, such as sampling, the tokens alone stay.
        asked = GenerationConfig.from_pretrained(folder)
        tokens = {name: getattr(asked, name) for name in _TOKENS}
        GenerationConfig(**tokens).save_pretrained(folder)
        (folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n")
    for folder in folders:
        clear_state(folder)
    return progress


def _check_output(output: Path) -> None:
    """Raise before hours of training if the result cannot be put where it shall go."""
    is_empty_folder = output.is_dir() and not any(output.iterdir())
    if output.exists() and not is_empty_folder and not (output / RECORD_FILE).exists():
        raise TrainingError(
            f"{str(output)!r} exists and is no finetuned model (it has no {RECORD_FILE}); it is "
            "not overwritten. Name another output folder or move this one away."
        )
    trial = output.parent / f".{output.name}.trial.tmp"
    with writing(output):
        trial.mkdir(parents=True, exist_ok=True)
        trial.rmdir()
