"""Compares the learning rate that `training.learning_rate: auto` chooses with a fixed rate.

It trains with the settings and the training set of a home, which does not change, and measures the
home's development texts. Each seed, which sets the order of rows, trains at the chosen rate and,
with `--against`, at a fixed one. A killed measurement continues where it stopped.

    python -m benchmarks.learning_rates --home HOME --work FOLDER [--seeds 0 1 2] [--against 2e-5]
        [--model DIR] [--json FILE]
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, required=True, help="home with a training set")
    parser.add_argument("--work", type=Path, required=True, help="folder for models and states")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--against", type=float, help="fixed rate to compare with")
    parser.add_argument("--model", type=Path, help="model directory; default: the home's model")
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
    from toolformer.training.learning_rates import RATES, ChosenRate
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
    said: list[ChosenRate] = []
    trainings: list[tuple[str, TrainingJob, Sequence[float]]] = [("auto", job, RATES)]
    if options.against is not None:
        at_fixed = replace(job, learning_rate=options.against)
        trainings.append((f"{options.against:.0e}", at_fixed, ()))
    found: dict[str, Any] = {"seed": seed}
    for name, training, rates in trainings:
        model = options.work / f"model-{seed}-{name}"
        began = time.monotonic()
        progress = finetune(
            training, model, rates=rates, facts={}, report=lambda _: None, report_rate=said.append
        )
        best = progress.best
        measured = {"base": asdict(progress.base), "best": asdict(best)}
        seconds = time.monotonic() - began
        found[name] = {**measured, "best_step": best.step, "seconds": seconds}
        print(
            f"seed {seed}, {name}: development loss {progress.base.mean:.3f} to "
            f"{best.development_loss:.3f}, perplexity without calls "
            f"{progress.base.perplexity:.2f} to {best.development_perplexity:.2f}, step "
            f"{best.step} of {work.steps}",
            flush=True,
        )
    print(f"seed {seed}: {said[0].summary}", flush=True)
    return {**found, "trials": [asdict(trial) for trial in said[0].trials]}


if __name__ == "__main__":
    main()
