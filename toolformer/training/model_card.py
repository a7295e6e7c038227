"""Writes the model card: the README of a finetuned model, in the format of model hubs."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolformer.decoding.calibration import CalibratedProbability
from toolformer.settings.training_sections import CALLS, PLAIN, SHUFFLED

CARD_FILE = "README.md"
# Identifier of a licence on a hub.
LICENCE_WORD = re.compile(r"[a-z0-9][a-z0-9.-]*")
_DESCRIPTIONS = {
    CALLS: "It was finetuned on texts with tool calls. A call was kept only if its result helped "
    "the base model predict the text after it (Toolformer, Schick et al. 2023, arXiv 2302.04761).",
    PLAIN: "**It is a control.** It was finetuned on the texts of a Toolformer model, but without "
    "the calls. It shows how much of an improvement comes from the texts themselves.",
    SHUFFLED: "**It is a control.** It was finetuned on the texts of a Toolformer model, but every "
    "call has the result of another call of the same tool. It shows how much of an improvement "
    "comes from calls whose results are meaningless.",
}


def model_card(
    name: str,
    record: Mapping[str, Any],
    *,
    base_license: str | None = None,
    base_on_hub: str = "",
    datasets: Sequence[str] = (),
    sources: Sequence[tuple[str, str]] = (),
    evaluation: Sequence[Mapping[str, Any]] = (),
    min_call_probability: CalibratedProbability | None = None,
) -> str:
    """Return the card as Markdown with a YAML header.

    Args:
        record: Contents of the model's `toolformer.json`.
        base_license: Licence of the base model, such as `apache-2.0`, if its folder states one.
        sources: Name and licence of each source.
        evaluation: Rows of `evaluation_summary` of this model and its base.
    """
    from huggingface_hub import ModelCardData

    variant, calls, result = record["facts"]["variant"], record["facts"]["calls"], record["result"]
    writers = record["facts"].get("call writers")
    word, has_calls = base_license or "unknown", variant != PLAIN
    head = ModelCardData(
        base_model=base_on_hub or None,
        datasets=list(datasets) or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        license=word if LICENCE_WORD.fullmatch(word) else "other",
        tags=["toolformer", *(["tool-use"] if has_calls else [])],
    )
    tool_counts = ", ".join(f"{count:,} of {tool}" for tool, count in calls.items())
    parts = [
        f"---\n{head.to_yaml()}\n---",
        f"# {name}",
        f"This language model was finetuned from `{record['base']}`. {_DESCRIPTIONS[variant]}",
        *(
            ["## Usage", _USAGE.format(name=name), *_threshold(min_call_probability)]
            if has_calls
            else []
        ),
        "## Training data",
        f"The model was trained on {record['rows']:,} texts with {sum(calls.values()):,} calls"
        f"{f' ({tool_counts})' if tool_counts else ''}: {result['tokens']:,} tokens in "
        f"{result['steps']:,} steps.",
        *([call_writers(writers)] if has_calls and writers else []),
        "## Training procedure",
        markdown_table(
            ("setting", "value"),
            {**record["parameters"], "computed in": record["precision"]}.items(),
        ),
        "## Evaluation",
        "The perplexity of the development texts without calls was "
        f"{result['base_perplexity']:.2f} before training. It is {result['best_perplexity']:.2f} "
        f"for these weights, which are those of step {result['best_step']}.",
        _evaluation_table(evaluation)
        or "The model has not been evaluated on benchmarks. Run "
        f"`toolformer evaluate --variant {variant}`.",
        "## Limitations",
        _LIMITATIONS,
        "## Licences",
        "\n".join(
            [
                f"- base model `{record['base']}`: "
                f"{base_license or 'not stated in its folder; check where you obtained it'}",
                *(f"- texts of `{source}`: {licence}" for source, licence in sources),
            ]
        ),
    ]
    return "\n\n".join(parts) + "\n"


_USAGE = """\
The model writes ` [Tool(arguments) ->`. The decoding program must then run the call and insert \
its result and `]`; otherwise the model makes up a result. In a clone of toolformer:

```python
from toolformer import complete

answer = complete("36 boxes of 45 eggs are 36 * 45 =", "{name}", tools=["Calculator"])
print(answer.text, answer.calls)
```

`hf upload OWNER/{name} {name}` uploads the folder to the hub, and \
`hf download OWNER/{name} --local-dir {name}` downloads it."""

_LIMITATIONS = """\
- The model calls a tool where that lowered the loss of its base model, not where a person would. \
Calls, arguments and the tools' answers can be wrong.
- It is a language model, not an assistant. It inherits the errors of its base model and the \
biases of the texts.
- A call cannot use the result of another call, and the model does not repeat a call with a \
refined query (§7 of the paper).
- The development perplexity does not show whether tools help. For that, compare the model with \
its controls, with calls enabled and disabled."""


def call_writers(calls: Mapping[str, int]) -> str:
    """Return the sentence that says who wrote the kept calls, from `call_writers.sql`.

    Example:
        >>> call_writers({"rules of the tools": 212, "the model `tiny`": 28})
        'Of 240 kept calls, rules of the tools wrote 212, the model `tiny` wrote 28.'
    """
    wrote = ", ".join(f"{writer} wrote {count:,}" for writer, count in calls.items())
    return f"Of {sum(calls.values()):,} kept calls, {wrote}."


def _threshold(calibrated: CalibratedProbability | None) -> list[str]:
    if calibrated is None:
        return []
    return [
        "With `decoding.min_call_probability: null`, a call also requires that ` [` reaches a "
        f"calibrated probability. It was calibrated with k = {calibrated.call_top_k}. "
        f"{calibrated.summary}"
    ]


def _evaluation_table(evaluation: Sequence[Mapping[str, Any]]) -> str:
    if not evaluation:
        return ""
    rows = [
        [f"{value:.3f}" if isinstance(value, float) else value for value in row.values()]
        for row in evaluation
    ]
    return markdown_table(list(evaluation[0]), rows)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
