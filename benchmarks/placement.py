"""Calls scored at their places in the text against calls in front of it: tokens and seconds.

The same calls of real documents, by the same engine, once for each form of the losses. The losses
without a call, which several tools would share, are part of every form. Samples are kept in --work.

    python -m benchmarks.placement --work FOLDER [SOURCE] [--calls 500] [--model FOLDER] [--json]

SOURCE is a file of JSON lines with `text`; by default the web documents of TOOLFORMER_TEST_DATA.
"""

import argparse
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.costs import Cost, measured
from benchmarks.machine import load_faster
from benchmarks.ours import LOWEST_THRESHOLD
from benchmarks.sampled_calls import CallSource
from benchmarks.workload import test_data_file
from dagster_project.home import Home
from toolformer.call_scorer import Pruning, ScoringParameters
from toolformer.calls import CallFormat
from toolformer.filtering import Baseline, CallLosses
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.embedded_model import ensure_embedded_model
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import Window
from toolformer.loss_form import PAPERS_FORM, LossForm, Placement
from toolformer.loss_weights import window_weights
from toolformer.losses import ScoredCall, scorer_for
from tools.model_identity import model_identity

# The preset `laptop` decides at this one and above.
FORMS = {
    "in front of the text (the paper)": (PAPERS_FORM, Baseline.MINIMUM),
    "at its place": (LossForm(Placement.INLINE), Baseline.MINIMUM),
    "at its place, 32 tokens alike, without the call without result": (
        LossForm(Placement.INLINE, window_weights(32, are_linear=False)),
        Baseline.WITHOUT_CALL,
    ),
}

# Windows, and the calls of one tool in them.
Work = tuple[Sequence[Window], Sequence[ScoredCall]]


def compare(model: LanguageModel, work: Sequence[Work]) -> dict[str, Cost]:
    """What each form costs on the same calls, by its name."""
    costs = {}
    for name, (form, baseline) in FORMS.items():
        total = Cost()
        for windows, calls in work:
            _, cost = measured(
                model,
                lambda windows=windows, calls=calls, form=form, baseline=baseline: _score(
                    model, windows, calls, form, baseline
                ),
            )
            total += cost
        costs[name] = total + Cost(candidates=sum(len(calls) for _, calls in work))
    return costs


def _score(
    model: LanguageModel,
    windows: Sequence[Window],
    calls: Sequence[ScoredCall],
    form: LossForm,
    baseline: Baseline,
) -> dict[str, CallLosses]:
    with tempfile.TemporaryDirectory() as folder:
        scorer = scorer_for(
            model,
            {(window.document_id, window.index): window for window in windows},
            ScoringParameters(CallFormat(), form),
        )
        return scorer.score(
            calls,
            pruning=Pruning(LOWEST_THRESHOLD, baseline=baseline),
            checkpoint=Checkpoint(Path(folder) / "scoring", fingerprint="benchmark"),
            progress=lambda _done, _total: None,
        )


def _first_calls(work: Iterable[Work], count: int) -> list[Work]:
    """About so many calls, those of a tool and chunk together."""
    found: list[Work] = []
    for windows, calls in work:
        found.append((windows, calls))
        if sum(len(each) for _, each in found) >= count:
            break
    return found


def _report(costs: dict[str, Cost]) -> dict[str, Any]:
    return {
        name: {**asdict(cost), "tokens_per_candidate": cost.tokens_per_candidate}
        for name, cost in costs.items()
    }


def main() -> None:
    """Run the comparison and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    directory = options.model or ensure_embedded_model(Home.find().converted_models)
    model = load_faster(directory)
    source = CallSource(
        options.source or test_data_file("web_docs"),
        options.work / "samples",
        lambda: model,
        model_identity(directory),
    )
    work = _first_calls(
        (
            (chunk.windows, calls)
            for chunk in source.chunks()
            for calls in chunk.calls.values()
            if calls
        ),
        options.calls,
    )
    # Once unmeasured: the first pass of a process waits for memory.
    compare(model, [(windows, list(islice(calls, 2))) for windows, calls in work[:1]])
    costs = compare(model, work)
    if options.json:
        print(json.dumps(_report(costs), indent=2))
        return
    for name, cost in costs.items():
        print(
            f"{name}: {cost.candidates} calls, {cost.tokens_per_candidate:.1f} tokens per "
            f"candidate, {cost.seconds:.1f} s"
        )


if __name__ == "__main__":
    main()
