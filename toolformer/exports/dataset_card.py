"""The card of an exported dataset: its README, in the form that `datasets` and model hubs read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolformer.training.model_card import LICENCE_WORD, call_writers, markdown_table

CARD_FILE = "README.md"
TEXTS, KEPT_CALLS = "augmented_texts", "kept_calls"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A part of a dataset.

    Attributes:
        size: Size of the files, in bytes.
    """

    rows: int
    size: int
    digest: str
    columns: Mapping[str, str]


def data_file(configuration: str) -> str:
    """Return the files of a configuration as a pattern relative to the folder."""
    return f"data/{configuration}/*.parquet"


def dataset_card(
    *,
    round_number: int,
    annotators: Sequence[tuple[str, str]],
    writers: Mapping[str, int],
    tools: Sequence[Mapping[str, Any]],
    settings: Mapping[str, object],
    sources: Sequence[tuple[str, str]],
    configurations: Mapping[str, Configuration],
) -> str:
    """Return the card, whose head lists the files of each configuration for `load_dataset`.

    Args:
        annotators: Name and precision of each model that annotated.
        writers: Number of calls in the texts by writer; empty if there are none.
        tools: Rows of `exported_tools`.
        settings: Values of settings by dotted name.
        sources: Names of the sources, each with its licence.
        configurations: Configurations by name, the texts first.
    """
    from huggingface_hub import DatasetCardData

    head = DatasetCardData(
        license=_license(sources),
        task_categories=["text-generation"],
        tags=["toolformer", "tool-use"],
        pretty_name="A corpus augmented with tool calls",
        configs=[
            {
                "config_name": name,
                "data_files": [{"split": "train", "path": data_file(name)}],
                **({"default": True} if name == TEXTS else {}),
            }
            for name in configurations
        ],
        # The cache of `datasets` knows a folder by its name and card alone. Without these entries
        # it would return the rows of an earlier export, or of another folder of the same name.
        dataset_info=[
            {
                "config_name": name,
                "splits": [{"name": "train", "num_bytes": each.size, "num_examples": each.rows}],
                "download_size": each.size,
                "dataset_size": each.size,
                "description": f"Digest of the files: {each.digest}",
            }
            for name, each in configurations.items()
        ],
    )
    tool_rows = [
        (row["tool"], f"{row['calls']:,}", row["filtering_threshold"], f"`{row['versions']}`")
        for row in tools
    ]
    models = ", ".join(f"`{name}` in {precision}" for name, precision in annotators)
    parts = [
        f"---\n{head.to_yaml()}\n---",
        "# A corpus augmented with tool calls",
        _WHAT_IT_IS,
        "## Contents",
        *(_contents(name, each) for name, each in configurations.items()),
        "Read a configuration with "
        f'`datasets.load_dataset(FOLDER, "{TEXTS}", split="train")`. '
        "The calls of a text are offsets beside it. Do not search for them in the text, which may "
        "have brackets of its own.",
        "## How it came about",
        f"Round {round_number} of annotation, by {models or 'a model'}."
        f"{f' {call_writers(writers)}' if writers else ''}",
        markdown_table(("tool", "calls in the texts", "τ_f (nats)", "version"), tool_rows),
        "What was set when this was exported:",
        markdown_table(("setting", "value"), sorted(settings.items())),
        "## Limits",
        _LIMITS,
        "## Licences",
        "\n".join(f"- texts of `{name}`: {licence}" for name, licence in sources),
    ]
    return "\n\n".join(parts) + "\n"


_WHAT_IT_IS = """\
Texts with calls of tools, which a language model wrote or the tools proposed \
(`sampling.proposals` below). A call was kept because its result made the text after it likelier, \
by at least τ_f (Toolformer, Schick et al. 2023, arXiv 2302.04761). No person labelled anything. \
Made with `toolformer export dataset`."""

_LIMITS = """\
- A call stands where it lowered the loss of the model above, not where a person would put it. \
Calls and their arguments can be wrong, and so can the tools' answers.
- The texts are as they were in their sources, with the bias and the errors of those.
- Texts are neither distinct nor free of benchmark questions. `split` tells which of them the \
training set of this project took (`train`, `development`) and which not (`none`).
- Marks of chat templates, such as `<|im_end|>`, are as they stood in the source: a tokenizer \
makes special tokens of them unless it is told not to."""


def _contents(name: str, configuration: Configuration) -> str:
    table = markdown_table(("column", "meaning"), list(configuration.columns.items()))
    return f"**`{name}`**, {configuration.rows:,} rows:\n\n{table}"


def _license(sources: Sequence[tuple[str, str]]) -> str:
    """Return the licence as a hub names it; `other` for several, or for words that are no name."""
    licences = {licence for _, licence in sources}
    named = licences.pop() if len(licences) == 1 else ""
    return named if LICENCE_WORD.fullmatch(named) else "other"
