"""Decisions of a bfloat16 model, with and without the second look, against those of float32.

Samples calls for real documents and scores them as a build does: in bfloat16 alone, in bfloat16
with a second look in float32, and in float32. What was sampled is kept in --work.

    python -m benchmarks.precision --work FOLDER [SOURCE] [--calls 5000] [--model FOLDER]

SOURCE is a file of JSON lines with `text`; by default the web documents of TOOLFORMER_TEST_DATA.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.sampled_calls import CallSource, Chunk
from dagster_project.home import Home
from dagster_project.settings.sections import Settings
from dagster_project.wiring.scoring import losses_wanted, scoring_parameters
from toolformer.filtering import CallLosses, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.embedded_model import ensure_embedded_model
from toolformer.forward.language_model import LanguageModel
from toolformer.shard_scoring import ShardScoring
from tools.model_identity import model_identity

THRESHOLDS = (0.1, 0.25, 0.5, 1.0)
# By name: the precision of the model, and whether there is a second look.
_WAYS = {
    "float32": ("float32", False),
    "bfloat16": ("bfloat16", False),
    "second look": ("bfloat16", True),
}


@dataclass(slots=True)
class _Totals:
    """Losses and costs of one way to score.

    Attributes:
        losses: by call.
        seconds, tokens: of its own losses and the second look, without swapped results.
        rescored: calls that had a second look.
    """

    losses: dict[str, CallLosses] = field(default_factory=dict)
    seconds: float = 0.0
    tokens: int = 0
    rescored: int = 0


def measure(directory: Path, work: Path, source: Path, calls: int) -> dict[str, Any]:
    """Score about so many calls in each way and compare the decisions.

    Args:
        directory: of the model.
        work: where sampled calls are kept.
        source: file of the documents.
        calls: how many.
    """
    load = cache(lambda precision: LanguageModel.load(directory, precision=precision))
    samples = CallSource(
        source, work / "samples", lambda: load("bfloat16"), model_identity(directory)
    )
    totals = {name: _Totals() for name in _WAYS}
    for chunk in samples.chunks():
        for name, (precision, is_rescored) in _WAYS.items():
            _score(chunk, totals[name], load, precision, is_rescored=is_rescored)
        done = len(totals["float32"].losses)
        print(f"{time.strftime('%H:%M:%S')} {done} of {calls} calls", file=sys.stderr, flush=True)
        if done >= calls:
            break
    exact = totals["float32"].losses
    return {
        "calls": len(exact),
        "share with a second look": totals["second look"].rescored / max(len(exact), 1),
        "seconds": {name: each.seconds for name, each in totals.items()},
        "tokens": {name: each.tokens for name, each in totals.items()},
        "kept by float32": {
            str(threshold): sum(_kept(losses, threshold) for losses in exact.values())
            for threshold in THRESHOLDS
        },
        "other decisions": {
            name: _other_decisions(exact, totals[name].losses)
            for name in ("bfloat16", "second look")
        },
    }


def _score(chunk: Chunk, totals: _Totals, load: Any, precision: str, *, is_rescored: bool) -> None:
    settings = Settings()
    scoring = ShardScoring(
        load_in=lambda name: load(name or precision),
        cut_windows=lambda _: chunk.windows,
        parameters=scoring_parameters(settings),
        wanted=replace(losses_wanted(settings), is_rescored=is_rescored, chance_calls=0),
        progress=lambda *_: lambda *_: None,
    )
    for name, calls in chunk.calls.items():
        with tempfile.TemporaryDirectory() as folder:
            found = scoring.score(
                name,
                calls,
                lambda step, state, folder=folder: Checkpoint(
                    Path(folder) / step, fingerprint=state
                ),
            )
        totals.losses |= {call_id: score.losses for call_id, score in found.scores.items()}
        for cost in found.costs:
            if cost.stage == "rescoring":
                totals.rescored += cost.candidates
            if cost.stage in ("scoring", "rescoring"):
                totals.seconds += cost.seconds
                totals.tokens += cost.tokens_fed


def _kept(losses: CallLosses, threshold: float) -> bool:
    return decide(losses, filtering_threshold=threshold).is_kept


def _other_decisions(exact: dict[str, CallLosses], other: dict[str, CallLosses]) -> dict[str, int]:
    """How many calls are decided otherwise, by threshold."""
    counts = Counter(
        threshold
        for call_id, losses in exact.items()
        for threshold in THRESHOLDS
        if _kept(losses, threshold) != _kept(other[call_id], threshold)
    )
    return {str(threshold): counts[threshold] for threshold in THRESHOLDS}


def _default_source() -> Path | None:
    folder = os.environ.get("TOOLFORMER_TEST_DATA")
    return Path(folder) / "text" / "web_docs.jsonl.gz" if folder else None


def main() -> None:
    """Run the measurement and print its figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", type=Path, default=_default_source())
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    if options.source is None or not options.source.exists():
        parser.error("name a SOURCE that exists, or set TOOLFORMER_TEST_DATA")
    directory = options.model or ensure_embedded_model(Home.find().converted_models)
    print(json.dumps(measure(directory, options.work, options.source, options.calls), indent=2))


if __name__ == "__main__":
    main()
