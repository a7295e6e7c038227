"""Options that several commands share, and what their values mean."""

import os
from pathlib import Path
from typing import Annotated

import typer

from toolformer.settings.training_sections import Variant

Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A setting for this run, e.g. tools.Calendar.filtering_threshold=0.5. Repeatable.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Force = Annotated[bool, typer.Option("--force", help="Compute also what is up to date.")]
ToolNames = Annotated[
    str | None, typer.Option("--tools", help="Only these tools, comma-separated.", metavar="X,Y")
]
ToolName = Annotated[str, typer.Argument(help="The tool, as `tools list` shows it.")]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model", help="finetuned, base or a model directory. Default: finetuned if there."
    ),
]
Today = Annotated[
    str | None, typer.Option("--today", help="Date for the Calendar, YYYY-MM-DD. Default: today.")
]
VariantName = Annotated[
    Variant | None,
    typer.Option(
        help="calls (the paper's model), or a control on the same texts: plain (no calls), "
        "shuffled (results exchanged). Default: training.variant, which is calls unless "
        "toolformer.yaml says otherwise.",
        show_default=False,
    ),
]


def expanded(path: Path | None) -> Path | None:
    """The file or folder of an option, with the home folder in place of `~`."""
    return path and Path(os.path.expanduser(path))  # noqa: PTH111


def names_in(given: str | None) -> list[str]:
    """The names of an option whose value is comma-separated; none where it was not given."""
    return [name.strip() for name in (given or "").split(",") if name.strip()]
