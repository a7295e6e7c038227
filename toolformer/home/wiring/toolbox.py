"""Creates the tools of a run, with their prompts, readers and retrievers."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolformer.home.wiring.models import base_model
from toolformer.home.wiring.workspace import Workspace
from toolformer.question_answering.reader import LanguageModelReader
from toolformer.settings.corpus_sections import STARTER_PEOPLE
from toolformer.settings.sections import Settings
from toolformer.sources.files import built_in_path
from tools.base import Tool
from tools.errors import PromptError, ToolError, ToolUnavailableError
from tools.plugins.mcp_tool import MCP_TOOL
from tools.plugins.plugins import parse_arguments
from tools.plugins.table_tool import TABLE_TOOL
from tools.prompting import SHORT, load_prompt, load_short_prompt
from tools.registry import check_tool_name, check_usable, create_tool, is_plugin
from tools.retrieval.hybrid_ranking import HybridRetriever, PassageVectors
from tools.retrieval.passage_ranking import PassageRanker
from tools.retrieval.passages import BM25_B, BM25_K1
from tools.retrieval.retrieval_tool import Reader, Retriever
from tools.retrieval.word_vectors import WORDLLAMA
from tools.running.isolation import IsolatedTool

# Names of the assets that build the indexes.
WIKIPEDIA_INDEX, PASSAGE_INDEX = "wikipedia_index", "passage_index"
SEARCHING_TOOLS = ("WikiSearch", "QA")
# A BM25 score this much higher makes a passage e times as probable.
BM25_TEMPERATURE = 3.0


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools that can run, and why the other enabled tools cannot.

    Prompts are None if `sampling.uses_prompt` is off. `on_device` names the tools that load a model
    onto the device, `failures` counts failed live calls by tool.
    """

    tools: Mapping[str, Tool]
    prompts: Mapping[str, str | None]
    unavailable: Mapping[str, str]
    on_device: frozenset[str] = frozenset()
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def left_out(self) -> list[str]:
        return [f"{name} is left out: {why}" for name, why in self.unavailable.items()]

    def parse_arguments(self, name: str, text: str) -> str:
        return parse_arguments(self.tools[name], text)


def open_toolbox(
    work: Workspace, *, named: Collection[str] | None = None, while_decoding: bool = False
) -> Toolbox:
    """Create the tools and check which can run, before any expensive work.

    `named` are the tools that the user requested; None stands for all enabled tools. While
    decoding, the Calendar returns the date of the text instead of the date in its URL.

    Raises:
        ToolUnavailableError: a requested tool cannot run.
        UnknownToolError, ToolSettingsError, PromptError: a name or setting is invalid.
    """
    settings = work.settings
    for name in named or ():
        check_tool_name(name, targets=settings.tools.targets)
    chosen = (
        settings.tools.enabled_names
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
    on_device = {"QA"}
    if settings.tools.MT.options.get("model_directory"):
        on_device.add("MT")
    has_vectors = _searches_vectors(settings, "WikiSearch")
    if has_vectors and settings.passage_index.encoder != WORDLLAMA:
        on_device.add("WikiSearch")
    return Toolbox(tools, prompts, unavailable, frozenset(on_device))


def open_tool(work: Workspace, name: str, *, while_decoding: bool = False) -> Tool:
    """Create one tool without checking that it can run; invalid settings raise a ToolError."""
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
            # A program that downloads at start-up cannot declare first that it needs the network,
            # so the user sets an option.
            with_network=target == MCP_TOOL
            and ("url" in options or options.get("needs_network") is True),
        )
    return create_tool(name, options, targets=settings.tools.targets)


def prompt_of(settings: Settings, tool: Tool) -> str:
    """Return a tool's few-shot prompt: a file, the short one, or by default the tool's own."""
    name = settings.tools.of(tool.name).prompt
    if name == SHORT:
        return load_short_prompt(tool.name)
    return load_prompt(tool.name, Path(name).expanduser() if name else None, own=tool.prompt)


def _may_be_left_out(settings: Settings, name: str, error: ToolError) -> bool:
    """Return whether a run may continue without a tool that the user did not request by name.

    It may continue if the tool is unavailable, or if a plugin fails for a reason other than the
    user's settings.
    """
    tool = settings.tools.of(name)
    is_users_own = bool(tool.prompt if isinstance(error, PromptError) else tool.options)
    return isinstance(error, ToolUnavailableError) or (is_plugin(name) and not is_users_own)


def options_of(work: Workspace, name: str, while_decoding: bool = False) -> dict[str, Any]:
    """Return the arguments for a tool's constructor: the user's options and values of the home."""
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
        if _searches_vectors(settings, name):
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
        # The device that the run has locked, which need not be the first one.
        options["device"] = work.hold_device
    return options


def open_reader(work: Workspace) -> Reader:
    """Return QA's reader: the base model, so that answers do not depend on the round."""
    section = work.settings.language_model

    def identity() -> str:
        base = base_model(work)
        # The digest of a served model includes its precision.
        parts = [base.identity(work.settings), *([] if base.is_served else [section.precision])]
        if section.bos_token is not None:
            parts.append(f"bos_token={section.bos_token}")
        return " ".join(parts)

    return LanguageModelReader(lambda: base_model(work).load(work), identity=identity)


def open_retriever(work: Workspace) -> Retriever:
    """Return QA's retriever, BM25 or hybrid (§3, Atlas); indexes open at the first question."""
    is_bm25 = work.settings.question_answering.retriever == "bm25"
    # The hybrid retriever applies its own temperature to its own scores.
    temperature = BM25_TEMPERATURE if is_bm25 else 1.0
    index = work.home.wikipedia_index
    ranker = PassageRanker(index, k1=BM25_K1, b=BM25_B, temperature=temperature)
    if is_bm25:
        return ranker
    vectors = PassageVectors(work.home.passage_index, device=work.hold_device)
    return HybridRetriever(ranker, vectors)


def tools_searching(index: str, settings: Settings, named: Collection[str] = ()) -> list[str]:
    """Return the `named` tools, by default the enabled ones, that search an index of the home."""

    def searches(name: str) -> bool:
        if index == PASSAGE_INDEX:
            return _searches_vectors(settings, name)
        return name == "QA" or "index_directory" not in settings.tools.WikiSearch.options

    return [
        name
        for name in SEARCHING_TOOLS
        if (name in named if named else settings.tools.of(name).is_enabled) and searches(name)
    ]


def _searches_vectors(settings: Settings, name: str) -> bool:
    if name == "QA":
        return settings.question_answering.retriever != "bm25"
    return settings.tools.WikiSearch.options.get("retriever") == "hybrid"
