"""A replay: the tools as they were frozen, in place of the tools (`execution.replay`).

Opens no tool. Does not write the file; `dagster_project.commands.freezing` does.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dagster_project.settings.sections import Settings
from dagster_project.wiring.retriever import SEARCHING_TOOLS, searches_vectors
from tools.errors import FrozenAnswersError, ToolUnavailableError
from tools.protocol import Tool
from tools.registry import check_tool_name, is_plugin, plugin_target
from tools.running.frozen_answers import FrozenAnswers
from tools.running.frozen_tool import FrozenTool

# Of the section `execution`: what a result depends on.
_OF_RESULTS = {"deadline_seconds", "max_result_tokens", "leak_share"}


def replayed_tool(
    settings: Settings,
    name: str,
    *,
    while_decoding: bool,
    open_original: Callable[[], Tool],
) -> FrozenTool:
    """What was frozen of a tool.

    Args:
        settings: of the run; `execution.replay` names the file.
        name: one of `settings.tools.names`.
        while_decoding: a model calls it, and not a build.
        open_original: makes the tool itself, for what it does before it is called.

    Raises:
        UnknownToolError: the name is misspelt.
        ToolUnavailableError: the file has nothing of it.
        FrozenAnswersError: the file cannot be read, or has answers under other settings.
    """
    check_tool_name(name, targets=settings.tools.targets)
    answers = FrozenAnswers(Path(settings.execution.replay or ""))
    number = settings.sampling.round
    record = answers.record(name, number)
    if record is None:
        there = sorted({f"{each.name} (round {each.round})" for each in answers.records})
        raise ToolUnavailableError(
            name,
            f"'{answers.file}' has none of its answers in round {number}, only those of "
            f"{', '.join(there) or 'no tool'}, and in a replay no tool is asked",
            "Freeze a build with this tool, or take execution.replay out of the settings",
        )
    _check_same(answers.file, name, record.settings, settings_of_answers(settings, name))
    return FrozenTool(record, answers, open_original=open_original, while_decoding=while_decoding)


def settings_of_answers(settings: Settings, name: str) -> dict[str, Any]:
    """What the settings say that the answers of a tool depend on, by name.

    The model that reads for QA is no part of it, nor are the bytes of an index or a server: the
    version of the tool stands for them.

    Args:
        settings: of the run.
        name: one of `settings.tools.names`.
    """
    named: dict[str, Any] = {
        f"execution.{key}": value
        for key, value in settings.execution.model_dump(include=_OF_RESULTS).items()
    }
    options = settings.tools.of(name).options
    named |= {f"tools.{name}.options.{key}": value for key, value in options.items()}
    if is_plugin(name):
        named[f"tools.{name}.class"] = plugin_target(name, targets=settings.tools.targets)
    if name == "Calculator":
        named["sampling.seed"] = settings.sampling.seed
    sections = {
        "WikiSearch": ["wikipedia_index"],
        "QA": ["wikipedia_index", "question_answering"],
    }.get(name, [])
    if name in SEARCHING_TOOLS and searches_vectors(settings, name):
        sections = [*sections, "passage_index"]
    for section in sections:
        of_section = getattr(settings, section).model_dump(mode="json")
        named |= {f"{section}.{key}": value for key, value in of_section.items()}
    # As it is read back from a file.
    return json.loads(json.dumps(named))


def _check_same(file: Path, name: str, frozen: Any, current: Any) -> None:
    changed = [
        f"{key} is {current.get(key)!r} and was {frozen.get(key)!r}"
        for key in sorted({*frozen, *current})
        if frozen.get(key) != current.get(key)
    ]
    if changed:
        raise FrozenAnswersError(
            f"'{file}' has the answers that {name} gave under other settings: "
            f"{'; '.join(changed)}. In a replay no tool is asked. Set back what differs, or take "
            "execution.replay out of the settings."
        )
