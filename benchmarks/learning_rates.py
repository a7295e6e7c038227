"""What `training.learning_rate: auto` chooses, and what comes of it against a fixed rate.

Trains on the training set of a home, which stays as it is, with its settings. For each seed, which
is that of the order of rows: the trials, and with `--against` the whole training at the chosen rate
and at the fixed one. Measured are the development texts of the home. Goes on where it was killed.

    python -m benchmarks.learning_rates --home HOME --work FOLDER [--seeds 0 1 2] [--against 2e-5]
        [--model DIR] [--json FILE]
"""

import argparse
import json
import time
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
    parser.add_argument("--against", type=float, help="a fixed rate to train at too")
    parser.add_argument("--model", type=Path, help="model directory; default: that of the home")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args(arguments)

    from benchmarks.machine import machine, versions

    seeds = [_of_seed(options, seed) for seed in options.seeds]
    if options.json is not None:
        figures = {"machine": machine(), "versions": versions(), "seeds": seeds}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _of_seed(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    from assets.training.planned_training import planned_training
    from toolformer.forward.devices import resolve_device
    from toolformer.home.home import Home
    from toolformer.home.wiring.models import base_model_directory
    from toolformer.home.wiring.workspace import Workspace
    from toolformer.settings.settings_file import load_settings
    from toolformer.training.finetuning import finetune
    from toolformer.training.learning_rates import RATES, chosen_rate
    from toolformer.training.training_job import TrainingJob

    home = Home(options.home)
    changes: dict[str, Any] = {"training": {"seed": seed}}
    if options.model is not None:
        changes["language_model"] = {"path": str(options.model)}
    settings = load_settings(home.settings_file, overrides=changes)
    workspace = Workspace(settings, home)
    work = planned_training(workspace)
    job = TrainingJob(
        base=base_model_directory(workspace),
        rows=work.rows.rows,
        development=work.development,
        settings=settings.training,
        steps=work.steps,
        learning_rate=0.0,
        precision="float32",
        bos_token=settings.language_model.bos_token,
        device=resolve_device("auto"),
        state_folder=options.work / f"state-{seed}",
        fingerprint=f"{seed}-{base_model_directory(workspace)}",
    )
    began = time.monotonic()
    chosen = chosen_rate(job, RATES, lambda _: lambda _: None)
    print(f"seed {seed}: {chosen.summary}", flush=True)
    trials = [asdict(trial) for trial in chosen.trials]
    found: dict[str, Any] = {"seed": seed, "trials": trials, "seconds": time.monotonic() - began}
    rates = {chosen.job.learning_rate, options.against}
    for rate in () if options.against is None else sorted(rates):
        of_rate = replace(job, learning_rate=rate)
        model = options.work / f"model-{seed}-{rate:.0e}"
        progress = finetune(of_rate, model, facts={}, report=lambda _: None)
        best = progress.best
        measured = {"base": asdict(progress.base), "best": asdict(best)}
        found[f"{rate:.0e}"] = {**measured, "best_step": best.step, "seconds": progress.seconds}
        print(
            f"seed {seed}, {rate:.0e}: development loss {progress.base.mean:.3f} to "
            f"{best.development_loss:.3f}, perplexity without calls "
            f"{progress.base.perplexity:.2f} to {best.development_perplexity:.2f}, step "
            f"{best.step} of {work.steps}",
            flush=True,
        )
    return found


if __name__ == "__main__":
    main()
