"""Writes the dataset card: the README of an export, in the format that dataset hubs read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolformer.training.model_card import LICENCE_WORD, call_writers, markdown_table

CARD_FILE = "README.md"
TEXTS, KEPT_CALLS = "augmented_texts", "kept_calls"


@dataclass(frozen=True, slots=True)
class Configuration:
    """Configuration of a dataset in the sense of `datasets`; `size` is in bytes."""

    rows: int
    size: int
    digest: str
    columns: Mapping[str, str]


def data_file(configuration: str) -> str:
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
    """Return the card as Markdown with a YAML header, which `load_dataset` reads.

    `tools` are rows of `exported_tools`. `annotators` pair model and precision, `sources` pair name
    and licence. The first configuration must be the texts.
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
        # `datasets` caches a folder by its name and card only. Without these entries it would
        # return the rows of an earlier export, or of another folder with the same name.
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
        _DESCRIPTION,
        "## Contents",
        *(_contents(name, each) for name, each in configurations.items()),
        "Load a configuration with "
        f'`datasets.load_dataset(FOLDER, "{TEXTS}", split="train")`. '
        "The calls of a text are stored next to it, with character offsets. Do not search the "
        "text for calls: it may contain brackets of its own.",
        "## Annotation process",
        f"The calls were annotated in round {round_number} by {models or 'a model'}."
        f"{f' {call_writers(writers)}' if writers else ''}",
        markdown_table(("tool", "calls in the texts", "τ_f (nats)", "version"), tool_rows),
        "Settings at the time of the export:",
        markdown_table(("setting", "value"), sorted(settings.items())),
        "## Limitations",
        _LIMITATIONS,
        "## Licences",
        "\n".join(f"- texts of `{name}`: {licence}" for name, licence in sources),
    ]
    return "\n\n".join(parts) + "\n"


_DESCRIPTION = """\
This dataset contains texts with tool calls. A language model wrote the calls, or rules of the \
tools proposed them (see `sampling.proposals` below). A call was kept if its result lowered the \
model's loss on the text after it by at least τ_f (Toolformer, Schick et al. 2023, \
arXiv 2302.04761). There was no human labelling. The dataset was exported with \
`toolformer export dataset`."""

_LIMITATIONS = """\
- Calls are at positions where they lowered the loss of the annotating model, not where a person \
would put them. Calls, arguments and the tools' answers can be wrong.
- The texts are unchanged and have the biases and errors of their sources.
- The texts may contain duplicates and benchmark questions. The column `split` says whether the \
project's own training set uses a text (`train`, `development`) or not (`none`).
- Chat-template markers such as `<|im_end|>` are unchanged. A tokenizer may turn them into special \
tokens unless it is told not to."""


def _contents(name: str, configuration: Configuration) -> str:
    table = markdown_table(("column", "meaning"), list(configuration.columns.items()))
    return f"**`{name}`**, {configuration.rows:,} rows:\n\n{table}"


def _license(sources: Sequence[tuple[str, str]]) -> str:
    """Return the common licence if it has the form of a hub's identifier, else `other`."""
    licences = {licence for _, licence in sources}
    identifier = licences.pop() if len(licences) == 1 else ""
    return identifier if LICENCE_WORD.fullmatch(identifier) else "other"
