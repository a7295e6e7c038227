"""The model card of a finetuned model: its README, in the form that model hubs read.

Says what the model was trained on, how, what came out and what it must not be taken for.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolformer.decoding.calibration import CalibratedProbability
from toolformer.settings.training_sections import CALLS, PLAIN, SHUFFLED

CARD_FILE = "README.md"
# Of a licence as hubs name it.
LICENCE_WORD = re.compile(r"[a-z0-9][a-z0-9.-]*")
_WHAT_IT_IS = {
    CALLS: "It was finetuned on texts with calls of tools, each kept because its result made the "
    "text after it likelier (Toolformer, Schick et al. 2023, arXiv 2302.04761).",
    PLAIN: "**It is a control.** It was finetuned on the texts of a Toolformer model without any "
    "call, and tells what the texts alone teach.",
    SHUFFLED: "**It is a control.** It was finetuned as a Toolformer model, but every call has the "
    "result of another call of its tool; it tells what calls teach whose results mean nothing.",
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
    """The card.

    Args:
        record: the model's `toolformer.json`.
        base_license: licence of the base model as a hub names it, such as `apache-2.0`; None where
            its directory does not say.
        base_on_hub, datasets: names on the hub of the base model and of what has the texts.
        sources: where the texts come from, each with its licence.
        evaluation: rows of `evaluation_summary` of this model and its base; empty before it was
            measured.
        min_call_probability: how likely its opening has to be for a call; None before it was
            calibrated.
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
        "## What came out",
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
    """Return the sentence that says who wrote kept calls.

    Args:
        calls: number of calls by writer, as of `call_writers.sql`.

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
    """A table of a card."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
