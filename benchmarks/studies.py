"""Studies how calls are used, by asking the questions of benchmarks in additional modes.

    python -m benchmarks.studies STUDY… [--benchmarks A,B] [--models X,Y] [--items N]
        [--set NAME=VALUE]…

The models are those of the home in TOOLFORMER_HOME; by default only the finetuned one is measured.

| study | modes | view |
|---|---|---|
| k | a call opens if ` [` is among the k most likely tokens (paper, table 9) | call_calibration |
| tools | one tool is missing, for each tool | evaluation_table |
| sizes | base and `evaluation.models` may call, too (paper, figure 4) | evaluation_table |
| openings | a call is forced in each answer, at the most likely position of ` [` | call_use |
| tables | the facts that questions ask for are changed or deleted in table tools | table_edits |

If many of the `missing_calls` in `call_use` are `right_if_forced`, lower
`decoding.min_call_probability`. If few are, or if many are `undone_calls`, annotate more texts.
`evaluation_results` keeps the rows until another study or `toolformer evaluate` measures the same
benchmark and model.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import get_args

import dagster as dg

from assets.evaluation.comparisons import compare
from assets.evaluation.evaluator import Evaluator, enabled_for
from assets.run import Run
from benchmarks.edited_tables import Edit, edited_tables
from dagster_project.commands import console
from dagster_project.commands.options import RunOptions, names_in
from toolformer.decoding.completions import BY_RANK_ONLY
from toolformer.errors import ToolformerError
from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem
from toolformer.evaluation.modes import DISABLED, Mode
from toolformer.home.resources.settings import SettingsResource
from toolformer.home.wiring.models import check_model_name, evaluated_model, name_of_variant
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.evaluation_sections import BASE

_VIEWS = {
    "k": "call_calibration",
    "tools": "evaluation_table",
    "sizes": "evaluation_table",
    "openings": "call_use",
    "tables": "table_edits",
}
# Values of k in the paper's table 9.
_CALL_TOP_KS = (0, 1, 3, 10)
_EDITS: tuple[Edit, ...] = get_args(Edit)


class StudyEvaluator(Evaluator):
    def tools_and_items(
        self, mode: Mode, benchmark: Benchmark, items: Sequence[BenchmarkItem]
    ) -> tuple[Toolbox, Mapping[str, BenchmarkItem]]:
        for edit in _EDITS:
            if mode.name == edit:
                return edited_tables(self.run, self.tools, benchmark, items, edit)
        return super().tools_and_items(mode, benchmark, items)


def study_modes(study: str, calls: Mode, tools: Iterable[str]) -> list[Mode]:
    """Return the modes of a study; `calls` is the mode of the settings.

    Example:
        >>> from toolformer.decoding.completions import MinCallProbability
        >>> from toolformer.evaluation.modes import enabled
        >>> [mode.name for mode in study_modes("k", enabled(10), [])]
        ['disabled', 'k-1', 'k-3', 'enabled']
        >>> likely = enabled(10, MinCallProbability.everywhere(0.2))
        >>> [mode.name for mode in study_modes("k", likely, [])]
        ['disabled', 'k-1', 'k-3', 'k-10', 'enabled']
    """
    further: list[Mode] = []
    if study == "k":
        # These modes open calls by rank only, without a minimum probability.
        known = {0, calls.call_top_k if calls.min_call_probability == BY_RANK_ONLY else 0}
        further = [Mode(f"k-{k}", k) for k in _CALL_TOP_KS if k not in known]
        return [DISABLED, *further, calls]
    if study == "tools":
        further = [replace(calls, name=f"without-{name}", without_tool=name) for name in tools]
    elif study == "openings":
        further = [Mode("forced", calls.call_top_k, is_forced=True)]
    elif study == "tables":
        further = [replace(calls, name=edit) for edit in _EDITS]
    return [DISABLED, calls, *further]


def run_studies(studies: Sequence[str], options: RunOptions, models: Sequence[str] = ()) -> None:
    """Measure models in all modes of the studies, by default the one that was finetuned."""
    resources = {
        "settings": SettingsResource(overrides=dict(options.overrides)),
        "toolbox": SimpleNamespace(tools=[]),
    }
    run = Run(dg.build_asset_context(resources=resources))
    evaluation = run.settings.evaluation
    benchmarks = [name for name in evaluation.benchmarks if not evaluation.is_text(name)]
    if not benchmarks:
        raise ToolformerError(
            "No benchmark of evaluation.benchmarks has questions, so there is nothing to study. "
            "Expected at least one. Name some with --benchmarks."
        )
    finetuned = name_of_variant(run.settings.training.variant)
    every = (BASE, finetuned, *evaluation.models)
    named = tuple(models) or (every if "sizes" in studies else (finetuned,))
    for name in named:
        check_model_name(name, run.settings)
    measuring = StudyEvaluator.open(run)
    for name in named:
        model = evaluated_model(name, run)
        calls = enabled_for(model, run.settings)
        modes = {
            mode.name: mode
            for study in studies
            for mode in study_modes(study, calls, measuring.tools.tools)
        }
        for benchmark in benchmarks:
            measuring.measure(benchmark, model, list(modes.values()))
    compare(run)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="+", choices=_VIEWS, metavar="STUDY")
    parser.add_argument("--benchmarks", help="comma-separated; default: evaluation.benchmarks")
    parser.add_argument("--models", help="comma-separated; default: finetuned")
    parser.add_argument("--items", type=int, help="maximum number of items per benchmark")
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help="change a setting")
    given = parser.parse_args()
    options = RunOptions.of(given.set, benchmarks=names_in(given.benchmarks), items=given.items)
    run_studies(given.studies, options, names_in(given.models))
    warehouse = options.workspace().warehouse
    for view in dict.fromkeys(_VIEWS[study] for study in given.studies):
        console.heading(view)
        console.frame(warehouse.view(view))


if __name__ == "__main__":
    main()
