"""The card of a finetuned model: its README, in the form that model hubs read."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolformer.decoding.calibration import CalibratedProbability
from toolformer.settings.training_sections import CALLS, PLAIN, SHUFFLED

CARD_FILE = "README.md"
# The name of a licence on a hub.
LICENCE_WORD = re.compile(r"[a-z0-9][a-z0-9.-]*")
_WHAT_IT_IS = {
    CALLS: "It was finetuned on texts with calls of tools, each kept because its result made the "
    "text after it likelier (Toolformer, Schick et al. 2023, arXiv 2302.04761).",
    PLAIN: "**It is a control.** It was finetuned on the texts of a Toolformer model without any "
    "call, and shows what the texts alone teach.",
    SHUFFLED: "**It is a control.** It was finetuned as a Toolformer model, but every call has the "
    "result of another call of its tool. It shows what calls with meaningless results teach.",
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
    """Return the card.

    Args:
        record: The model's `toolformer.json`.
        base_license: Licence of the base model as a hub names it, such as `apache-2.0`; None if
            its folder does not state one.
        base_on_hub: Name of the base model on the hub; empty if it is not known.
        datasets: Names of the texts' datasets on the hub.
        sources: Names of the sources, each with its licence.
        evaluation: Rows of `evaluation_summary` of this model and its base; empty before the model
            was measured.
        min_call_probability: Calibrated probabilities at which calls open; None before the model
            was calibrated.
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
        f"A language model finetuned from `{record['base']}`. {_WHAT_IT_IS[variant]}",
        *(["## Use", _USE.format(name=name), *_opening(min_call_probability)] if has_calls else []),
        "## What it was trained on",
        f"{record['rows']:,} texts with {sum(calls.values()):,} calls"
        f"{f' ({tool_counts})' if tool_counts else ''}; {result['tokens']:,} tokens in "
        f"{result['steps']:,} steps.",
        *([call_writers(writers)] if has_calls and writers else []),
        "## How",
        markdown_table(
            ("setting", "value"),
            {**record["parameters"], "computed in": record["precision"]}.items(),
        ),
        "## Results",
        "Perplexity of the development texts, without calls: "
        f"{result['base_perplexity']:.2f} before training, {result['best_perplexity']:.2f} at "
        f"step {result['best_step']}, whose weights these are.",
        _evaluation_table(evaluation)
        or f"Not measured otherwise (`toolformer evaluate --variant {variant}`).",
        "## Limits",
        _LIMITS,
        "## Licences",
        "\n".join(
            [
                f"- base model `{record['base']}`: "
                f"{base_license or 'not stated in its directory; see where it came from'}",
                *(f"- texts of `{source}`: {licence}" for source, licence in sources),
            ]
        ),
    ]
    return "\n\n".join(parts) + "\n"


_USE = """\
The model writes ` [Tool(arguments) ->`; the program that decodes has to run the call and to \
insert its result and `]`. Without that the model invents results. In a clone of toolformer:

```python
from toolformer import complete

answer = complete("36 boxes of 45 eggs are 36 * 45 =", "{name}", tools=["Calculator"])
print(answer.text, answer.calls)
```

`hf upload OWNER/{name} {name}` puts the folder on a hub, and \
`hf download OWNER/{name} --local-dir {name}` fetches it."""

_LIMITS = """\
- It calls a tool where that lowered the loss of its base model, not where a person would; calls \
and their arguments can be wrong, and so can the tools' answers.
- It is a language model, no assistant. It inherits what its base model gets wrong and the bias of \
the texts.
- One call cannot use the result of another, and no tool is asked twice about the same thing \
(§7 of the paper).
- A development perplexity says nothing about whether tools help. Compare the model with its \
controls, with calls enabled and disabled."""


def call_writers(calls: Mapping[str, int]) -> str:
    """Return the sentence that says who wrote the kept calls.

    Args:
        calls: Number of calls by writer, from `call_writers.sql`.

    Example:
        >>> call_writers({"rules of the tools": 212, "the model `tiny`": 28})
        'Of 240 kept calls, rules of the tools wrote 212, the model `tiny` wrote 28.'
    """
    wrote = ", ".join(f"{writer} wrote {count:,}" for writer, count in calls.items())
    return f"Of {sum(calls.values()):,} kept calls, {wrote}."


def _opening(chosen: CalibratedProbability | None) -> list[str]:
    if chosen is None:
        return []
    return [
        "With `decoding.min_call_probability: null` a call opens only where ` [` also has a "
        f"probability that was calibrated for it, with k = {chosen.call_top_k}. {chosen.summary}"
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
    """Return a table of a card."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
