"""A benchmark's questions, asked with calls disabled and enabled (paper §4.2).

Does not know any benchmark, and does not decide what is right: the benchmark does.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from dagster_project.settings.sections import Settings
from dagster_project.wiring.benchmarks import chosen_items
from dagster_project.wiring.live_calls import complete_with_tools, decoding_parameters
from dagster_project.wiring.toolbox import Toolbox
from toolformer.decoding.completions import Completion
from toolformer.decoding.decoder import longest_prompt_tokens
from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem
from toolformer.forward.language_model import LanguageModel

ENABLED, DISABLED = "enabled", "disabled"
PROMPT_TOO_LONG = "prompt_too_long"
# Of the rows that a benchmark leaves out, so many are named.
_NAMED = 5


def ask(
    model: LanguageModel,
    benchmark: Benchmark,
    tools: Toolbox,
    settings: Settings,
    *,
    progress: Callable[[int, int], None],
    warn: Callable[[str], None],
) -> tuple[list[dict], Mapping[str, int]]:
    """Ask every chosen item in both modes.

    Args:
        model: any.
        benchmark: asks the questions and scores the outputs.
        tools: opened for decoding.
        settings: of the run.
        progress: told answers done and answers in all.
        warn: told which rows of a file are left out.

    Returns:
        Rows of `evaluation_results` without benchmark and model, and how many rows of the file and
        items have no score, by reason.

    Raises:
        ToolformerError: a file cannot be read.
    """
    items, left_out = chosen_items(benchmark, settings)
    for row in left_out[:_NAMED]:
        warn(f"{benchmark.name} leaves out {row}")
    if len(left_out) > _NAMED:
        warn(f"{benchmark.name} leaves out {len(left_out) - _NAMED} more rows.")
    short, long = _by_length(model, items, benchmark, tools, settings)
    counts = Counter({"rows of the file": len(left_out), PROMPT_TOO_LONG: len(long)})
    rows = [
        {**_question(item), "mode": mode, "reason": PROMPT_TOO_LONG}
        for mode in (DISABLED, ENABLED)
        for item in long
    ]
    known: list[Completion] | None = None
    for place, mode in enumerate((DISABLED, ENABLED)):
        completions = complete_with_tools(
            model,
            [item.prompt for item in short],
            tools,
            settings,
            dates=[item.current_date or settings.evaluation.today for item in short],
            with_calls=mode == ENABLED,
            blocked_tools=benchmark.blocked_tools,
            max_new_tokens=benchmark.stop_rule.max_new_tokens,
            stop_texts=benchmark.stop_rule.stop_texts,
            # Up to the first call a text is the same.
            without_calls=known,
            rows_at_once=settings.evaluation.batch_size,
            progress=lambda done, total, place=place: progress(place * total + done, 2 * total),
        )
        rows += [
            {**_question(item), "mode": mode, **_answer(completion, benchmark, item)}
            for item, completion in zip(short, completions, strict=True)
        ]
        known = completions
    return rows, {reason: count for reason, count in counts.items() if count}


def _by_length(
    model: LanguageModel,
    items: Sequence[BenchmarkItem],
    benchmark: Benchmark,
    tools: Toolbox,
    settings: Settings,
) -> tuple[list[BenchmarkItem], list[BenchmarkItem]]:
    """The items that leave room for an answer with a call, and the others."""
    parameters = decoding_parameters(
        settings, tuple(tools.tools), max_new_tokens=benchmark.stop_rule.max_new_tokens
    )
    most = longest_prompt_tokens(model, parameters)
    parts: tuple[list[BenchmarkItem], list[BenchmarkItem]] = ([], [])
    for item in items:
        parts[len(model.tokenizer.encode(item.prompt)) > most].append(item)
    return parts


def _question(item: BenchmarkItem) -> dict:
    return {
        "item_id": item.item_id,
        "item_group": item.group,
        "prompt": item.prompt,
        "gold": json.dumps(item.gold, ensure_ascii=False),
        "score_weight": 1.0,
    }


def _answer(completion: Completion, benchmark: Benchmark, item: BenchmarkItem) -> dict:
    call = completion.calls[0] if completion.calls else None
    undone = completion.undone_calls[0] if completion.undone_calls else None
    return {
        "output": completion.text,
        "answer": completion.text_without_calls,
        "called_tool": call.tool if call else None,
        "arguments": call.arguments if call else None,
        "result": call.result if call else None,
        "undone_call": f"{undone.text} ({undone.reason})" if undone else None,
        "score": float(benchmark.score(item, completion.text_without_calls)),
        "tokens": sum(step.kind in ("sampled", "trigger") for step in completion.trace),
        "stopped_by": completion.stopped_by,
    }
