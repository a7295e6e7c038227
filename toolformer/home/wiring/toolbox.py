"""The tools of a run, with their prompts."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolformer.home.wiring.models import base_model
from toolformer.home.wiring.retriever import open_retriever, searches_vectors
from toolformer.home.wiring.workspace import Workspace
from toolformer.question_answering.reader import LanguageModelReader
from toolformer.settings.corpus_sections import STARTER_PEOPLE
from toolformer.settings.sections import Settings
from toolformer.sources.files import built_in_path
from tools.base import Tool
from tools.errors import PromptError, ToolError, ToolUnavailableError
from tools.plugins.mcp_tool import MCP_TOOL
from tools.plugins.table_tool import TABLE_TOOL
from tools.prompting import SHORT, load_prompt, load_short_prompt
from tools.registry import check_tool_name, check_usable, create_tool, is_plugin
from tools.retrieval.retrieval_tool import Reader
from tools.retrieval.word_vectors import WORDLLAMA
from tools.running.deadlines import Limits
from tools.running.isolation import IsolatedTool


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools that can run, and why the others cannot.

    Attributes:
        tools: by name, in a fixed order.
        prompts: few-shot prompts of these tools; None where sampling leaves them out.
        unavailable: name to reason and remedy.
        on_device: the tools that have a model on the device, loaded before their first call.
        failures: see `tools.running.deadlines.Calls`; of calls that a model makes.
    """

    tools: Mapping[str, Tool]
    prompts: Mapping[str, str | None]
    unavailable: Mapping[str, str]
    on_device: frozenset[str] = frozenset()
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def left_out(self) -> list[str]:
        """A sentence for each tool that cannot run."""
        return [f"{name} is left out: {why}" for name, why in self.unavailable.items()]


def open_toolbox(
    work: Workspace, *, named: Collection[str] | None = None, while_decoding: bool = False
) -> Toolbox:
    """Make the tools and see which are available, before anything expensive.

    Args:
        named: tools that the user asked for, which may be none; None for all that are enabled.
        while_decoding: the Calendar answers with the presumed date and not with that of a URL.

    Raises:
        UnknownToolError: a name is misspelt.
        ToolUnavailableError: a tool that was named cannot run.
        ToolSettingsError, PromptError: what the settings say of a tool cannot be used.
    """
    settings = work.settings
    for name in named or ():
        check_tool_name(name, targets=settings.tools.targets)
    chosen = (
        settings.tools.switched_on
        if named is None
        else [name for name in settings.tools.names if name in named]
    )
    tools: dict[str, Tool] = {}
    prompts: dict[str, str | None] = {}
    unavailable: dict[str, str] = {}
    for name in chosen:
        try:
            tool = open_tool(work, name, while_decoding=while_decoding)
            check_usable(tool, name)
            prompts[name] = prompt_of(settings, tool) if settings.sampling.uses_prompt else None
        except ToolError as error:
            if named is not None or not _may_be_left_out(settings, name, error):
                raise
            unavailable[name] = str(error)
        else:
            tools[name] = tool
    return Toolbox(tools, prompts, unavailable, _on_device(settings))


def _on_device(settings: Settings) -> frozenset[str]:
    names = {"QA"}
    if settings.tools.MT.options.get("model_directory"):
        names.add("MT")
    if searches_vectors(settings, "WikiSearch") and settings.passage_index.encoder != WORDLLAMA:
        names.add("WikiSearch")
    return frozenset(names)


def execution_limits(settings: Settings) -> Limits:
    """What calls of a run may take."""
    execution = settings.execution
    return Limits(deadline_seconds=execution.deadline_seconds, attempts=execution.attempts)


def open_tool(work: Workspace, name: str, *, while_decoding: bool = False) -> Tool:
    """Make one tool as the settings say, whether or not it can run here; see `open_toolbox`.

    Raises:
        UnknownToolError: the name is misspelt.
        ToolSettingsError: an option of the tool is misspelt or cannot be used.
    """
    settings, options = work.settings, options_of(work, name, while_decoding)
    check_tool_name(name, targets=settings.tools.targets)
    if is_plugin(name):
        target = settings.tools.targets[name]
        return IsolatedTool(
            name,
            target,
            options,
            deadline_seconds=settings.execution.deadline_seconds,
            memory_bytes=int(settings.execution.worker_memory_gib * 2**30),
            environment=settings.tools.environment_of(name),
            # A program that downloads something at its start cannot say first that it needs it.
            with_network=target == MCP_TOOL
            and ("url" in options or options.get("needs_network") is True),
        )
    return create_tool(name, options, targets=settings.tools.targets)


def prompt_of(settings: Settings, tool: Tool) -> str:
    """The few-shot prompt of a tool, as the settings name it: a file, `short`, or else its own.

    Raises:
        PromptError: there is none, or it cannot be used.
    """
    name = settings.tools.of(tool.name).prompt
    if name == SHORT:
        return load_short_prompt(tool.name)
    return load_prompt(tool.name, Path(name).expanduser() if name else None, own=tool.prompt)


def _may_be_left_out(settings: Settings, name: str, error: ToolError) -> bool:
    """Whether a tool that nobody named is left out for this error.

    What the user wrote about a tool is an error; what a package from outside brings along makes
    its tool unavailable, and the others go on.
    """
    if isinstance(error, ToolUnavailableError):
        return True
    tool_settings = settings.tools.of(name)
    is_users_own = bool(
        tool_settings.prompt if isinstance(error, PromptError) else tool_settings.options
    )
    return is_plugin(name) and not is_users_own


def options_of(work: Workspace, name: str, while_decoding: bool = False) -> dict[str, Any]:
    """What a tool's constructor is given: the user's options, and what the home and the run say."""
    settings, home = work.settings, work.home
    options: dict[str, Any] = dict(settings.tools.of(name).options)
    target = settings.tools.targets.get(name)
    if target in (TABLE_TOOL, MCP_TOOL):
        options["folder"] = str(home.root)
    if target == TABLE_TOOL:
        if options.get("table") == STARTER_PEOPLE:
            options["table"] = str(built_in_path(STARTER_PEOPLE) / "people.csv")
        options["index_folder"] = str(home.table_indexes)
    if name == "WikiSearch":
        options.setdefault("index_directory", str(home.wikipedia_index))
        if searches_vectors(settings, name):
            options["passage_index"] = str(home.passage_index)
            options["device"] = work.hold_device
    if name == "Calculator":
        options.setdefault("seed", settings.sampling.seed)
    if name == "Calendar" and while_decoding:
        options["date_source"] = "published_on"
    if name == "QA":
        options["retriever"] = open_retriever(work)
        options["reader"] = open_reader(work)
    if name == "MT" and options.get("device", "auto") == "auto":
        # The device that the run holds, and not the first one there is.
        options["device"] = work.hold_device
    return options


def open_reader(work: Workspace) -> Reader:
    """The base model as QA's reader, loaded at the first question.

    It reads in every round, whichever model annotates: what a tool answers must not change with
    the model that asks.
    """
    return LanguageModelReader(
        lambda: base_model(work).load(work), identity=lambda: _identity_of_reader(work)
    )


def _identity_of_reader(work: Workspace) -> str:
    model_settings, base = work.settings.language_model, base_model(work)
    # What a server says of its model has the precision.
    parts = [base.identity(work.settings), *([] if base.is_served else [model_settings.precision])]
    if model_settings.bos_token is not None:
        # It stands in front of every passage; answers are kept under the version of QA.
        parts.append(f"bos_token={model_settings.bos_token}")
    return " ".join(parts)
