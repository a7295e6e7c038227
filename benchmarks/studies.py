"""Studies of how calls are used: the questions of the benchmarks, asked in further modes.

    python -m benchmarks.studies STUDY… [--benchmarks A,B] [--models X,Y] [--items N]
        [--set NAME=VALUE]…

Measures models of the home that TOOLFORMER_HOME names, by default the finetuned one.

| study | modes | view |
|---|---|---|
| k | calls by k of the trigger (the paper's table 9) | call_calibration |
| tools | all tools but one, for each tool | evaluation_table |
| sizes | calls of the base model and of `evaluation.models` too (figure 4) | evaluation_table |
| openings | the model's own call in each answer, opened where ` [` is likeliest | call_use |
| tables | the facts that questions ask for, changed and deleted in table tools | table_edits |

If many of the `missing_calls` of `call_use` are `right_if_forced`, lower
`decoding.min_call_probability`; if few are, or many are `undone_calls`, annotate more texts.
The rows are in `evaluation_results` until another study or `toolformer evaluate` measures the same
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
# Of the trigger, as in the paper's table 9.
_CALL_TOP_KS = (0, 1, 3, 10)
_EDITS: tuple[Edit, ...] = get_args(Edit)


class StudyEvaluator(Evaluator):
    """Asks over edited tables in the modes that are named after an edit."""

    def tools_and_items(
        self, mode: Mode, benchmark: Benchmark, items: Sequence[BenchmarkItem]
    ) -> tuple[Toolbox, Mapping[str, BenchmarkItem]]:
        """See `Evaluator.tools_and_items`."""
        for edit in _EDITS:
            if mode.name == edit:
                return edited_tables(self.run, self.tools, benchmark, items, edit)
        return super().tools_and_items(mode, benchmark, items)


def study_modes(study: str, calls: Mode, tools: Iterable[str]) -> list[Mode]:
    """Return the modes of a study.

    Args:
        calls: Calls as the settings want them.
        tools: Names of the tools that may be called.

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
        # By rank alone: none of these asks for a probability.
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
    """Ask models in all modes of the studies, and compare the scores.

    Args:
        models: By name. By default the finetuned one; for `sizes` also base and
            `evaluation.models`.

    Raises:
        ToolformerError: There is no such model, no benchmark has questions, or no tool is a table.
    """
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
            "Name some with --benchmarks."
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
    """Run the studies and print the views that show their results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="+", choices=_VIEWS, metavar="STUDY")
    parser.add_argument("--benchmarks", help="comma-separated; default: evaluation.benchmarks")
    parser.add_argument("--models", help="comma-separated; default: finetuned")
    parser.add_argument("--items", type=int, help="maximum items of each benchmark")
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help="a setting")
    given = parser.parse_args()
    options = RunOptions.of(given.set, benchmarks=names_in(given.benchmarks), items=given.items)
    run_studies(given.studies, options, names_in(given.models))
    warehouse = options.workspace().warehouse
    for view in dict.fromkeys(_VIEWS[study] for study in given.studies):
        console.heading(view)
        console.frame(warehouse.view(view))


if __name__ == "__main__":
    main()
