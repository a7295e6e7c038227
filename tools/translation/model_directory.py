"""Whether the directory of a translation model is whole.

Does not load weights.
"""

from collections.abc import Sequence
from pathlib import Path

from tools.errors import ToolUnavailableError


def check_translation_model(
    directory: Path, *, tool_name: str, weight_patterns: Sequence[str], remedy: str
) -> None:
    """Check that the files of a model are there.

    Args:
        directory: Where the model should be.
        tool_name: The tool that needs it, for the error.
        weight_patterns: Glob patterns of weight files; each must match one.
        remedy: How to get weights of this kind, as a sentence without a full stop.

    Raises:
        ToolUnavailableError: When the directory or one of its files is missing.
    """
    if not directory.is_dir():
        raise ToolUnavailableError(
            tool_name,
            f"there is no directory {directory}, which the option model_directory names",
            "Correct the option, or remove it",
        )
    missing = [
        name for name in ("config.json", "tokenizer.json") if not (directory / name).is_file()
    ]
    missing += [pattern for pattern in weight_patterns if not any(directory.glob(pattern))]
    if missing:
        raise ToolUnavailableError(
            tool_name, f"the model in {directory} lacks {' and '.join(missing)}", remedy
        )
