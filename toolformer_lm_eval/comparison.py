"""The results of the harness without and with calls, side by side."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from toolformer.decoding.completions import Completion
from toolformer_lm_eval.answers import Answers, Generation


class Outcome(NamedTuple):
    """What one mode gave.

    Attributes:
        results: what `simple_evaluate` returned.
        answers: the answers that it scored.
    """

    results: Mapping[str, Any]
    answers: Answers


def summary(modes: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """One row for each task, or group, and metric: its value in each mode.

    Args:
        modes: by name. The share of items with a call is that of the last.
    """
    outcomes = list(modes.values())
    rows = []
    for task, values in outcomes[-1].results["results"].items():
        with_call = [
            any(completion.calls for _, completion in _answers(sample, outcomes[-1]))
            for sample in outcomes[-1].results["samples"].get(task, ())
        ]
        for metric, value in values.items():
            name, comma, rule = metric.partition(",")
            if not comma or name.endswith("_stderr") or not isinstance(value, int | float):
                continue
            results_of_modes = {
                mode: float(outcome.results["results"][task][metric])
                for mode, outcome in modes.items()
            }
            rows.append(
                {
                    "task": task,
                    "metric": name if rule == "none" else f"{name} ({rule})",
                    **results_of_modes,
                    "share with a call": sum(with_call) / len(with_call) if with_call else None,
                    "items": values.get("sample_len"),
                }
            )
    return rows


def samples(modes: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """One row for each item and filter of a task: prompt, target, and what each mode wrote."""
    rows = []
    first = next(iter(modes.values()))
    for task, task_samples in first.results["samples"].items():
        for index, sample in enumerate(task_samples):
            row = {
                "task": task,
                "item": sample["doc_id"],
                "filter": sample["filter"],
                "prompts": [prompt for prompt, _ in sample["arguments"]],
                "target": sample["target"],
            }
            for mode, outcome in modes.items():
                same = outcome.results["samples"][task][index]
                row[mode] = {
                    "answers": [
                        {"answer": answer, **_written(completion)}
                        for answer, completion in _answers(same, outcome)
                    ],
                    "filtered": same["filtered_resps"],
                    "metrics": {name: same[name] for name in same["metrics"]},
                }
            rows.append(row)
    return rows


def _answers(sample: Mapping[str, Any], outcome: Outcome) -> list[tuple[str, Completion]]:
    """What the harness got for the requests of one item, and what it was cut from."""
    return [
        (given[0], outcome.answers.completions[prompt, Generation.of(arguments)])
        for (prompt, arguments), given in zip(sample["arguments"], sample["resps"], strict=True)
    ]


def _written(completion: Completion) -> dict[str, Any]:
    return {
        "output": completion.text,
        "calls": [
            {"tool": call.tool, "arguments": call.arguments, "result": call.result}
            for call in completion.calls
        ],
        "undone_calls": [undone._asdict() for undone in completion.undone_calls],
        "stopped_by": completion.stopped_by,
    }
