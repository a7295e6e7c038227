"""Decisions in bfloat16, with and without the safety band, against those of float32.

Samples calls for real documents, scores them all in bfloat16, again in float32 where they are
uncertain, and all in float32. What was sampled and scored is kept in --work, so that an interrupted
measurement goes on; the seconds of a part are those of the run that made it.

    python -m benchmarks.precision --work FOLDER [SOURCE] [--calls 5000] [--model FOLDER] [--json]

SOURCE is a file of JSON lines with `text`; by default the web documents of TOOLFORMER_TEST_DATA.
"""

import argparse
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple
from functools import cache
from pathlib import Path
from typing import Any

from toolformer.calibration import Calibration, measure

from benchmarks.sampled_calls import WINDOW_TOKENS, CallSource, Chunk
from dagster_project.home import Home
from dagster_project.settings.sections import Settings
from toolformer.calls import CallFormat
from toolformer.filtering import CallLosses, decide, pruning_threshold
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.embedded_model import ensure_embedded_model
from toolformer.forward.language_model import LanguageModel
from toolformer.losses import ScoredCall, TextLosses, score_calls
from toolformer.rescoring import (
    first_pass_pruning,
    is_uncertain,
    score_again,
    start_token_losses,
)
from tools.model_identity import model_identity

THRESHOLDS = (1.0, 0.5)
_SCORING = Settings().scoring
_FORMAT = CallFormat(_SCORING.empty_result_keeps_arrow, _SCORING.separator)

Losses = dict[str, CallLosses]


class Measurement:
    """Scores chunks of calls; each pass over a chunk is a step that is kept.

    Args:
        directory: of the model.
        work: where everything is kept.
        source: file of the documents.
    """

    def __init__(self, directory: Path, work: Path, source: Path):
        self._work = work
        self._identity = model_identity(directory)
        self._load = cache(lambda precision: LanguageModel.load(directory, precision=precision))
        self._source = CallSource(
            source, work / "samples", lambda: self._load("bfloat16"), self._identity
        )
        stored = self._checkpoint("calibration").step(
            "calibration", lambda: asdict(self._calibrate())
        )
        self.calibration = Calibration(**stored)

    def run(self, calls: int) -> dict[str, Any]:
        """Score so many calls and compare the decisions."""
        totals = _Totals(self.calibration)
        for number, chunk in enumerate(self._source.chunks()):
            kept = _first_calls(chunk, calls - totals.calls)
            totals.add(self._measure(number, kept))
            _say(f"{totals.calls} of {calls} calls")
            if totals.calls >= calls:
                break
        return totals.report()

    def _calibrate(self) -> Calibration:
        _say("calibrating")
        return measure(
            self._load("bfloat16"),
            self._load("float32"),
            count=_SCORING.calibration_calls,
            window_tokens=WINDOW_TOKENS,
            call_format=_FORMAT,
            token_budget=_SCORING.token_budget,
            checkpoint=lambda precision: self._checkpoint(f"calibration-{precision}"),
            progress=lambda *_: None,
        )

    def _measure(self, number: int, chunk: Chunk) -> dict[str, Any]:
        """Losses and costs of all passes over a chunk, by name of the pass."""
        band = self.calibration.band
        count = sum(len(calls) for calls in chunk.calls.values())
        # All passes anew for another band: seconds compare only within one run.
        steps = self._checkpoint(f"scores-{number:04d}-{count}-{band}")

        def step(name: str, precision: str, score: Callable[..., Losses]) -> dict[str, Any]:
            return steps.step(name, lambda: self._timed(precision, score))

        def whole_pass(pruning: float, **start: bool) -> Callable[..., Losses]:
            return lambda model, options: self._pass(chunk, model, pruning, options, **start)

        found: dict[str, Any] = {}
        # The lowest threshold needs what all of them need.
        pruning = pruning_threshold(min(THRESHOLDS))
        found["float32"] = step("float32", "float32", whole_pass(pruning))
        for threshold in THRESHOLDS:
            pruning = pruning_threshold(threshold)
            found[f"bfloat16 {threshold}"] = step(
                f"bfloat16-{pruning}", "bfloat16", whole_pass(pruning)
            )
            pruning = first_pass_pruning(pruning, [threshold], band=band)
            first = step(f"first-{pruning}", "bfloat16", whole_pass(pruning, with_exact_start=True))
            rough = _losses(first)
            uncertain = {
                name: [
                    call
                    for call in calls
                    if is_uncertain(rough[call.call_id], [threshold], band=band)
                ]
                for name, calls in chunk.calls.items()
            }

            def rescore(
                model: LanguageModel,
                options: Callable[[str], dict[str, Any]],
                uncertain: Mapping[str, Sequence[ScoredCall]] = uncertain,
                pruning: float = pruning,
            ) -> Losses:
                windows = {(each.document_id, each.index): each for each in chunk.windows}
                return {
                    call_id: losses
                    for name, calls in uncertain.items()
                    if calls
                    for call_id, losses in score_again(
                        model, windows, calls, pruning_threshold=pruning, **options(name)
                    ).items()
                }

            found[f"first {threshold}"] = first
            found[f"again {threshold}"] = step(f"again-{threshold}-{band}", "float32", rescore)
        return found

    def _pass(
        self,
        chunk: Chunk,
        model: LanguageModel,
        pruning: float,
        options: Callable[[str], dict[str, Any]],
        *,
        with_exact_start: bool = False,
    ) -> Losses:
        windows = {(each.document_id, each.index): each for each in chunk.windows}
        text_losses = TextLosses(
            model,
            chunk.windows,
            token_budget=_SCORING.token_budget,
            start_losses=start_token_losses(self._load("float32")) if with_exact_start else None,
        )
        return {
            call_id: losses
            for name, calls in chunk.calls.items()
            for call_id, losses in score_calls(
                model, windows, text_losses, calls, pruning_threshold=pruning, **options(name)
            ).items()
        }

    def _timed(self, precision: str, score: Callable[..., Losses]) -> dict[str, Any]:
        # Both, so that no pass counts the loading.
        self._load("float32")
        model = self._load(precision)
        scratch = self._work / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)

        def options(name: str) -> dict[str, Any]:
            return {
                "call_format": _FORMAT,
                "full_losses": False,
                "token_budget": _SCORING.token_budget,
                "checkpoint": Checkpoint(scratch / name, fingerprint="scratch"),
                "progress": lambda *_: None,
            }

        began, fed_before = time.monotonic(), model.tokens_fed
        losses = score(model, options)
        return {
            "losses": {call_id: astuple(of_call) for call_id, of_call in losses.items()},
            "seconds": time.monotonic() - began,
            "tokens": model.tokens_fed - fed_before,
        }

    def _checkpoint(self, name: str) -> Checkpoint:
        return Checkpoint(self._work / name, fingerprint=self._identity)


class _Totals:
    """Decisions and costs of all chunks."""

    def __init__(self, calibration: Calibration):
        self._calibration = calibration
        self._costs: dict[str, dict[str, float]] = {}
        self._losses: dict[str, Losses] = {}

    @property
    def calls(self) -> int:
        return len(self._losses.get("float32", {}))

    def add(self, found: Mapping[str, dict[str, Any]]) -> None:
        for name, each in found.items():
            self._losses.setdefault(name, {}).update(_losses(each))
            costs = self._costs.setdefault(name, {"seconds": 0.0, "tokens": 0})
            for what in costs:
                costs[what] += each[what]

    def report(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "calibration": asdict(self._calibration),
            "coverage_of_these_calls": self._coverage(),
            "thresholds": {str(each): self._at(each) for each in THRESHOLDS},
            "float32_seconds": self._costs["float32"]["seconds"],
        }

    def _at(self, threshold: float) -> dict[str, Any]:
        exact = self._decisions("float32", threshold)
        rough = self._decisions(f"bfloat16 {threshold}", threshold)
        again = self._decisions(f"again {threshold}", threshold)
        banded = {**self._decisions(f"first {threshold}", threshold), **again}
        base = self._costs[f"bfloat16 {threshold}"]
        costs = {
            what: self._costs[f"first {threshold}"][what] + self._costs[f"again {threshold}"][what]
            for what in base
        }
        exact_cost = self._costs["float32"]
        # How much dearer a token is in float32.
        price = exact_cost["seconds"] / exact_cost["tokens"] * base["tokens"] / base["seconds"]
        again_tokens = self._costs[f"again {threshold}"]["tokens"]
        return {
            "kept_by_float32": sum(exact.values()),
            "rescored": len(again),
            **_equal("bfloat16", exact, rough),
            **_equal("with_band", exact, banded),
            "bfloat16_seconds": base["seconds"],
            "cost_ratio_seconds": costs["seconds"] / base["seconds"],
            "cost_ratio_tokens": costs["tokens"] / base["tokens"],
            # Does not vary with what else the machine does meanwhile.
            "cost_ratio_priced_tokens": (costs["tokens"] + (price - 1) * again_tokens)
            / base["tokens"],
            "float32_ratio_seconds": exact_cost["seconds"] / base["seconds"],
        }

    def _decisions(self, name: str, threshold: float) -> dict[str, bool]:
        return {
            call_id: decide(losses, filtering_threshold=threshold).is_kept
            for call_id, losses in self._losses[name].items()
        }

    def _coverage(self) -> dict[str, float]:
        """Of the differences of all calls whose three losses both precisions have."""
        pairs = [
            (rough.loss_reduction, exact.loss_reduction)
            for call_id, losses in self._losses["float32"].items()
            if losses.loss_call_without_result is not None
            and (first := self._losses[f"first {min(THRESHOLDS)}"][call_id])
            and first.loss_call_without_result is not None
            for rough, exact in [
                (decide(first, filtering_threshold=0), decide(losses, filtering_threshold=0))
            ]
        ]
        differences = [
            abs(rough - exact) for rough, exact in pairs if rough is not None and exact is not None
        ]
        if not differences:
            return {"calls": 0}
        return {
            "calls": len(differences),
            "sigma": (sum(each**2 for each in differences) / len(differences)) ** 0.5,
            "largest": max(differences),
            "coverage": sum(each <= self._calibration.band for each in differences)
            / len(differences),
        }


def _equal(name: str, exact: Mapping[str, bool], other: Mapping[str, bool]) -> dict[str, float]:
    equal = sum(other[call_id] == is_kept for call_id, is_kept in exact.items())
    return {f"{name}_equal": equal, f"{name}_equal_share": equal / len(exact)}


def _losses(found: Mapping[str, Any]) -> Losses:
    return {call_id: CallLosses(*values) for call_id, values in found["losses"].items()}


def _first_calls(chunk: Chunk, count: int) -> Chunk:
    """About so many calls of a chunk, of each tool its share."""
    available = sum(len(calls) for calls in chunk.calls.values())
    share = min(1.0, count / max(available, 1))
    return Chunk(
        chunk.windows,
        {name: calls[: math.ceil(len(calls) * share)] for name, calls in chunk.calls.items()},
    )


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _default_source() -> Path | None:
    folder = os.environ.get("TOOLFORMER_TEST_DATA")
    return Path(folder) / "text" / "web_docs.jsonl.gz" if folder else None


def main() -> None:
    """Run the measurement and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", type=Path, default=_default_source())
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if options.source is None or not options.source.exists():
        parser.error("name a SOURCE that exists, or set TOOLFORMER_TEST_DATA")
    directory = options.model or ensure_embedded_model(Home.find().converted_models)
    report = Measurement(directory, options.work, options.source).run(options.calls)
    if options.json:
        print(json.dumps(report, indent=2))
        return
    for name, value in {**report, **report.pop("calibration")}.items():
        if name != "thresholds":
            print(f"{name}: {value}")
    for threshold, figures in report["thresholds"].items():
        print(f"τ_f {threshold}:")
        for name, value in figures.items():
            print(f"  {name}: {value:.4f}" if isinstance(value, float) else f"  {name}: {value}")


if __name__ == "__main__":
    main()
