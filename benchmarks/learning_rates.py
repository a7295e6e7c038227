"""What `training.learning_rate: auto` chooses, and what comes of it against a fixed rate.

Trains on the training set of a home, which stays as it is, with its settings. For each seed, which
is that of the order of rows: the trials, the chosen rate and the fixed one (once where they are
equal). Measured are the development texts of the home, at most as many as are named.

    python -m benchmarks.learning_rates --home HOME --work FOLDER [--seeds 0 1 2] [--against 1e-4]
        [--model DIR] [--texts N] [--development N] [--json FILE]
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> None:
    """Train, and print a line for each training."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, required=True, help="has a training set")
    parser.add_argument("--work", type=Path, required=True, help="where models and states lie")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--against", type=float, default=1e-4, help="the fixed rate")
    parser.add_argument("--model", type=Path, help="model directory; default: that of the home")
    parser.add_argument("--texts", type=int, help="train on so many; default: on all")
    parser.add_argument("--development", type=int, default=50, help="most texts to measure on")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args(arguments)

    from benchmarks.machine import machine, versions

    trained = [_of_seed(options, seed) for seed in options.seeds]
    if options.json is not None:
        figures = {"machine": machine(), "versions": versions(), "seeds": trained}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _of_seed(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    from assets.run import Workspace
    from assets.training.planned_training import planned_steps, planned_training
    from toolformer.forward.devices import resolve_device
    from toolformer.home.home import Home
    from toolformer.home.settings.settings_file import load_settings
    from toolformer.training.finetuning import FinetuningParameters, TrainingJob, finetune
    from toolformer.training.learning_rates import measured_learning_rate
    from toolformer.training.training_loss import LossWeights

    home = Home(options.home)
    changes: dict[str, Any] = {"training": {"seed": seed}}
    if options.model is not None:
        changes["language_model"] = {"path": str(options.model)}
    settings = load_settings(home.settings_file, overrides=changes)
    workspace, training = Workspace(settings, home), settings.training
    work = planned_training(workspace)
    rows = _spread(work.rows.rows, options.texts)
    development = work.development.at_most(options.development)
    parameters = FinetuningParameters(
        learning_rate=options.against,
        warmup_share=training.warmup_share,
        batch_size=training.batch_size,
        steps=planned_steps(len(rows), batch_size=training.batch_size, epochs=training.epochs),
        micro_batch_tokens=training.micro_batch_tokens,
        evaluate_every=training.evaluate_every,
        seed=seed,
        clip_norm=training.clip_norm,
        precision="float32",
        save_every=training.save_every,
        loss_weights=LossWeights(**training.loss_weights.model_dump()),
    )
    job = TrainingJob(
        base=workspace.base_model,
        rows=rows,
        development=development,
        parameters=parameters,
        bos_token=settings.language_model.bos_token,
        device=resolve_device("auto"),
        state_folder=options.work / f"trials-{seed}",
        fingerprint=f"{seed}-{workspace.base_model}",
    )
    began = time.monotonic()
    chosen = measured_learning_rate(job, report=lambda *_: None)
    print(f"seed {seed}: {chosen.summary}", flush=True)
    of_seed: dict[str, Any] = {
        "seed": seed,
        "texts": len(rows),
        "tokens": sum(len(row.ids) for row in rows),
        "steps": parameters.steps,
        "trials": asdict(chosen),
        "seconds_of_trials": time.monotonic() - began,
    }
    for rate in sorted({chosen.learning_rate, options.against}):
        name = f"{seed}-{rate:.0e}"
        of_rate = replace(
            job,
            parameters=replace(parameters, learning_rate=rate),
            state_folder=options.work / f"state-{name}",
        )
        model = options.work / f"model-{name}"
        progress = finetune(of_rate, model, facts={}, report=lambda _: None)
        assert progress.best is not None
        of_seed[f"{rate:.0e}"] = {
            "base": asdict(progress.base),
            "best": asdict(progress.best),
            "best_step": progress.best_step,
            "seconds": progress.seconds,
        }
        print(
            f"seed {seed}, {rate:.0e}: development loss {progress.base.mean:.3f} to "
            f"{progress.best.mean:.3f}, perplexity without calls {progress.base.perplexity:.2f} "
            f"to {progress.best.perplexity:.2f}, step {progress.best_step} of "
            f"{parameters.steps}, {progress.seconds:.0f} s (trials "
            f"{of_seed['seconds_of_trials']:.0f} s)",
            flush=True,
        )
    return of_seed


def _spread(rows: Sequence[Any], most: int | None) -> list[Any]:
    """At most so many of some rows, at even distances."""
    return list(rows[:: -(-len(rows) // most)] if most else rows)


if __name__ == "__main__":
    main()
