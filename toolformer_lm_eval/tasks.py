"""The tasks of the harness by name, and which of them can be run with calls.

Reads their YAML alone, not their data.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from toolformer.constants import INSTALL_EXTRA
from toolformer.errors import ToolformerError, UnservedGenerationError

GENERATING_INSTEAD = (
    "There the likelihood of given texts is compared and the model writes nothing, so that no tool "
    "ever runs. Expected tasks with output_type: generate_until, such as nq_open, triviaqa or "
    "gsm8k."
)
_GENERATING = "generate_until"


def check_installed() -> None:
    """Tell before anything is loaded that lm-eval is missing.

    Raises:
        ToolformerError: names the command that installs it.
    """
    if find_spec("lm_eval") is None:
        raise ToolformerError(
            "Tasks of lm-evaluation-harness need the package lm-eval, which is not installed. Run "
            f"`{INSTALL_EXTRA.format('lm-eval')}` in the clone."
        )


def open_tasks(names: Sequence[str], include_path: Path | None) -> Any:
    """The harness's task manager, once it is sure that it has the tasks and they let models write.

    A task that is a Python class tells its type only when it runs.

    Args:
        names: tasks, groups or tags.
        include_path: folder with task files of the user's own, which come before the harness's.

    Raises:
        ToolformerError: the folder or a task is not there.
        UnservedGenerationError: a task compares likelihoods.
    """
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    if include_path is not None and not include_path.is_dir():
        raise ToolformerError(f"--include-path {include_path} is no folder.")
    types: list[tuple[str, str | None]] = []
    manager: Any = None
    # The harness's own files are over ten thousand: they are read only where they are needed.
    for with_harness in (False, True) if include_path else (True,):
        manager = TaskManager(include_path=include_path, include_defaults=with_harness)
        types = list(output_types(names, manager.task_index))
        if all(kind for _, kind in types):
            break
    if unknown := [name for name, kind in types if kind is None]:
        raise ToolformerError(
            f"There is no task {', '.join(unknown)}. Expected names of lm-evaluation-harness "
            "(`lm-eval ls tasks` lists them) or of tasks in the folder of --include-path."
        )
    if unserved := [f"{name} ({kind})" for name, kind in types if kind != _GENERATING]:
        raise UnservedGenerationError(
            f"Not run with calls: {', '.join(unserved)}. {GENERATING_INSTEAD}"
        )
    return manager


def output_types(
    named: Sequence[str | Mapping[str, Any]], index: Mapping[str, Any]
) -> Iterator[tuple[str, str | None]]:
    """The tasks that names stand for, with their output types; None where there is no such task.

    Args:
        named: tasks, groups and tags; a group may say more of its members than their names.
        index: what the harness knows of each name.
    """
    for member in named:
        given = {} if isinstance(member, str) else dict(member)
        name = member if isinstance(member, str) else str(given.get("group") or given["task"])
        entry = index.get(name)
        config = given
        if entry is not None:
            changes = {key: given[key] for key in given if key not in ("task", "group")}
            config = {**(entry.cfg or {"task": sorted(entry.tags)}), **changes}
        members = config.get("task")
        if isinstance(members, list):
            yield from output_types(members, index)
        else:
            yield name, config.get("output_type", _GENERATING) if config else None
