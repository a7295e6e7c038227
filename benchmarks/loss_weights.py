"""Which weights of the tokens behind a call tell the calls that people marked from the others.

    python -m benchmarks.loss_weights --home HOME

HOME has scored calls of round 1 in texts with marks (`text_marks`). The losses of the tokens
behind each are computed again, call in front, and weighted in several ways: linear (the paper's),
uniform, and content: linear, times three on tokens of numbers and names, scaled to the same sum.
Printed are, for each, the average precision of the ranking by loss reduction, and the precision at
the loss reductions that keep as many marked calls as linear weights do at some thresholds.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from toolformer.explanation import CallExplanation, explain_call
from toolformer.forward.windows import split_into_windows
from toolformer.home.reading import Home
from toolformer.home.settings.settings_file import load_settings
from toolformer.home.wiring.annotator import Annotator
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.loss_weights import window_weights
from toolformer.scoring.loss_form import LossForm
from toolformer.scoring.scored_call import ScoredCall
from tools.protocol import ToolCall

_CALLS = """
    select call_id, tool, arguments, result, document_id, window_index, position, text,
        documents.shard, number is not null as is_marked, calls_at_marks.loss_reduction
    from calls_at_marks
    join scored_calls using (call_id, tool, round, document_id)
    join documents using (document_id)
    where round = 1 and tokens_used > 0 order by call_id
"""
_THRESHOLDS = (0.1, 0.25, 0.5, 1.0)
_TIMES = 3


def weights_of(tokens: Sequence[str], name: str) -> np.ndarray:
    """The weights of some tokens behind a call, fewer than five at the end of a text.

    Example:
        >>> [round(float(weight), 2) for weight in weights_of([" 24", " jars"], "content")]
        [0.47, 0.13]
    """
    plain = np.array(window_weights(5, are_linear=name != "uniform"))[: len(tokens)]
    if name != "content":
        return plain
    is_content = [any(letter.isdigit() or letter.isupper() for letter in each) for each in tokens]
    larger = plain * np.where(is_content, _TIMES, 1)
    return larger * plain.sum() / larger.sum()


def reduction_of(explanation: CallExplanation, name: str) -> float:
    """The loss reduction of a call by the weights of this name, in nats."""
    weights = weights_of([token.text for token in explanation.tokens], name)
    columns = ("without_call", "call_without_result", "with_result")
    without, alone, with_result = (
        -weights @ [getattr(token, column) for token in explanation.tokens] for column in columns
    )
    return float(min(without, alone) - with_result)


def average_precision(reductions: Sequence[float], is_marked: Sequence[bool]) -> float:
    """Mean precision over the marked calls, the largest loss reduction first.

    Example:
        >>> average_precision([3.0, 2.0, 1.0], [True, False, True])
        0.8333333333333333
    """
    marked = np.array(is_marked)[np.argsort(-np.array(reductions), kind="stable")]
    precision = np.cumsum(marked) / np.arange(1, len(marked) + 1)
    return float(precision[marked].mean())


def measured(
    reductions: Mapping[str, Sequence[float]], is_marked: Sequence[bool]
) -> dict[str, dict[str, float]]:
    """By weights the average precision, and the precision where as many marked calls are kept."""
    marked = np.array(is_marked)
    found: dict[str, dict[str, float]] = {}
    for name, values in reductions.items():
        ranked = marked[np.argsort(-np.array(values), kind="stable")]
        found[name] = {"average precision": average_precision(values, is_marked)}
        for threshold in _THRESHOLDS:
            wanted = int((marked & (np.array(reductions["linear"]) >= threshold)).sum())
            last = int(np.searchsorted(np.cumsum(ranked), wanted)) + 1
            found[name][f"as many as linear at {threshold:g}"] = wanted / last
    return found


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, required=True)
    home = Home(parser.parse_args().home)
    settings = load_settings(home.places.settings_file)
    annotator = Annotator.of(settings, home.places)
    model = annotator.load(ModelHolder(), settings, home.places)
    calls = home.sql(_CALLS).to_dicts()
    reductions: dict[str, list[float]] = {"linear": [], "uniform": [], "content": []}
    off = []
    for call in track(calls, console=Console(stderr=True)):
        windows = split_into_windows(
            call["document_id"],
            call["text"],
            model.tokenizer,
            window_tokens=settings.corpus.window_tokens,
        )
        scored = ScoredCall(
            call_id=call["call_id"],
            window=(call["document_id"], call["window_index"]),
            position=call["position"],
            call=ToolCall(call["tool"], call["arguments"]),
            result=call["result"],
        )
        explanation = explain_call(
            model,
            list(windows)[call["window_index"]],
            scored,
            swapped_result=None,
            empty_result_keeps_arrow=settings.scoring.empty_result_keeps_arrow,
            form=LossForm(),
        )
        for name, values in reductions.items():
            values.append(reduction_of(explanation, name))
        if call["loss_reduction"] is not None:
            off.append(abs(call["loss_reduction"] - reductions["linear"][-1]))
    is_marked = [call["is_marked"] for call in calls]
    shown = {
        "calls": len(calls),
        "marked": sum(is_marked),
        "median difference from the stored loss reduction": float(np.median(off)) if off else None,
        **measured(reductions, is_marked),
    }
    print(json.dumps(shown, indent=2))


if __name__ == "__main__":
    main()
