"""Settings of the tools, and of what WikiSearch and QA search and read."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from toolformer.settings.section import Section, invalid
from tools.errors import ToolRegistrationError
from tools.plugins.mcp_tool import MCP_TOOL, checked_address
from tools.registry import TOOL_NAMES, tool_names
from tools.retrieval.passages import ENGLISH, Language


class ToolSettings(Section):
    """One tool (paper, appendix A, and table 2)."""

    is_enabled: bool = Field(default=True, description="use the tool where none are named")
    sampling_threshold: float = Field(
        default=0.05, ge=0, lt=1, description="τ_s: minimum probability of ` [` at a position"
    )
    positions_per_text: int = Field(default=5, ge=1, description="k: positions sampled per text")
    calls_per_position: int = Field(default=5, ge=1, description="m: calls sampled per position")
    filtering_threshold: float = Field(
        default=1.0, ge=0, description="τ_f: minimum loss reduction, in nats"
    )
    contrast_threshold: float | None = Field(
        default=None,
        ge=0,
        description="τ_c, in nats: how much more a call must lower the loss with its own result "
        "than with the result of another call; none in the paper",
    )
    prompt: str | None = Field(
        default=None,
        description="a few-shot prompt file of your own, with {text} where the text goes; or "
        "short, for small models, which the tools of this project have",
    )
    options: Mapping[str, JsonValue] = Field(
        default_factory=dict, description="settings of the tool itself"
    )


class PluginSettings(ToolSettings):
    """A tool from outside this project; `tools.others` has the defaults."""

    target: str | None = Field(
        None, alias="class", description="import path of the tool, as module:Class"
    )
    environment: tuple[str, ...] = Field(
        (), description="environment variables that its process gets, such as an API key"
    )


class McpServerSettings(Section):
    """A server that has tools; it has either an address or a command."""

    url: Annotated[str, AfterValidator(checked_address)] | None = Field(
        None, description="its address, where it runs already, such as http://localhost:8931/mcp"
    )
    command: tuple[str, ...] | None = Field(
        None, description="program and arguments of a server, which is started for each tool"
    )
    key_variable: str | None = Field(
        None,
        pattern="^[A-Z][A-Z0-9_]*$",
        description="name of the environment variable that holds the key of a server with an "
        "address, never the key itself",
    )
    start_seconds: float | None = Field(
        None, gt=0, description="longest start, which may include a download, in seconds; null: 30"
    )
    allow: tuple[str, ...] = Field(
        min_length=1,
        description="names of its tools that are taken; in calls, `_` replaces what cannot be "
        "written there",
    )


class McpServersSettings(Section):
    """Tools that are taken from servers."""

    from_mcp: tuple[McpServerSettings, ...] = Field((), description="servers to take tools from")


class ToolsSettings(McpServersSettings):
    """The five tools, and tools of your own by name; the paper's thresholds as defaults."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, PluginSettings]  # pyright: ignore[reportIncompatibleVariableOverride]

    QA: ToolSettings = ToolSettings()
    WikiSearch: ToolSettings = ToolSettings()
    Calendar: ToolSettings = ToolSettings()
    Calculator: ToolSettings = ToolSettings(
        sampling_threshold=0.0,
        positions_per_text=20,
        calls_per_position=10,
        filtering_threshold=0.5,
        options={"weak_share": 0.01},
    )
    MT: ToolSettings = ToolSettings(
        sampling_threshold=0.0,
        positions_per_text=20,
        calls_per_position=10,
        filtering_threshold=0.5,
    )
    others: ToolSettings = Field(ToolSettings(), description="defaults of your own tools")

    @model_validator(mode="before")
    @classmethod
    def _tools_are_known(cls, sections: Any) -> Any:
        if isinstance(sections, Mapping):
            sections = _with_mcp_tools(sections)
            if problems := _unknown_tools(sections):
                raise ValidationError.from_exception_data(cls.__name__, problems)
        return sections

    @property
    def targets(self) -> dict[str, str]:
        """Name to `module:Class` of the tools that are named here."""
        own = (self.model_extra or {}).items()
        return {name: settings.target for name, settings in own if settings.target}

    @property
    def names(self) -> tuple[str, ...]:
        """All tools: the five, then those that are named here."""
        return tool_names(self.targets)

    @property
    def enabled_names(self) -> tuple[str, ...]:
        """Those of `names` that are used where none are named."""
        return tuple(name for name in self.names if self.of(name).is_enabled)

    def of(self, tool_name: str) -> ToolSettings:
        """The settings of one tool."""
        if tool_name in type(self).model_fields:
            return getattr(self, tool_name)
        own = (self.model_extra or {}).get(tool_name)
        if own is None:
            return self.others
        not_shared = set(PluginSettings.model_fields) - set(ToolSettings.model_fields)
        return self.others.model_copy(update=own.model_dump(exclude_unset=True, exclude=not_shared))

    def environment_of(self, tool_name: str) -> tuple[str, ...]:
        """Names of the environment variables that a tool from outside gets."""
        own = (self.model_extra or {}).get(tool_name)
        key = own and own.target == MCP_TOOL and own.options.get("key_variable")
        return (*own.environment, *([str(key)] if key else ())) if own else ()


def _with_mcp_tools(sections: Mapping[str, Any]) -> Mapping[str, Any]:
    """The sections, with one for each tool of `from_mcp`; what its own section says wins."""
    servers = McpServersSettings(from_mcp=sections.get("from_mcp") or ()).from_mcp
    # File systems that ignore case would mix up the partitions of names that differ in it alone.
    taken = {name.lower() for name in ("all", "others", "from_mcp", *TOOL_NAMES)}
    own = {str(name).lower(): name for name in sections}
    made: dict[str, Any] = {}
    for number, server in enumerate(servers):
        options = server.model_dump(mode="json", exclude_none=True, exclude={"allow"})
        for tool in server.allow:
            name = re.sub(r"^(?=\d)|[^A-Za-z0-9_]", "_", tool)
            section = sections.get(name) or {}
            given = section.get("options") or {} if isinstance(section, Mapping) else None
            if not isinstance(given, Mapping):
                continue
            if name.lower() in taken or own.get(name.lower(), name) != name or "class" in section:
                error = (
                    f"the name {name!r} is taken; leave {tool!r} out here, and give it a section "
                    f"of its own with another name and `class: {MCP_TOOL}`"
                )
                raise invalid(("from_mcp", number, "allow"), tool, error)
            taken.add(name.lower())
            own_options = {**options, "tool": tool, **given}
            made[name] = {**section, "class": MCP_TOOL, "options": own_options}
    return {**sections, **made}


def _unknown_tools(sections: Mapping[str, Any]) -> list[InitErrorDetails]:
    """What is wrong with the names of tools that are not built in."""
    problems: list[InitErrorDetails] = []
    for name, section in sections.items():
        if not isinstance(name, str) or name in ToolsSettings.model_fields:
            continue
        target = section.get("class") if isinstance(section, Mapping) else None
        if not target:
            problems.append({"type": "extra_forbidden", "loc": (name,), "input": section})
            continue
        try:
            tool_names({name: str(target)})
        except ToolRegistrationError as error:
            problems.append(
                {"type": "value_error", "loc": (name,), "input": section, "ctx": {"error": error}}
            )
    return problems


class WikipediaIndexSettings(Section):
    """What WikiSearch searches (paper: the Wikipedia dump of KILT)."""

    source: str = Field(
        "wikipedia-excerpt",
        description="articles with the columns title, text and url: a path as in corpus.sources, "
        "such as hf://datasets/wikimedia/wikipedia/20231101.en/*.parquet or a local copy",
    )
    passage_words: int = Field(100, ge=10, description="longest passage, in words")
    language: Language = Field(
        ENGLISH, description="language of the articles: how words are cut to their stems"
    )


class PassageIndexSettings(Section):
    """Dense vectors of the passages that WikiSearch searches too (paper: Atlas's Contriever)."""

    encoder: str = Field(
        "wordllama",
        description="wordllama: trained vectors of words, which come with the project; or the "
        "directory of a Hugging Face encoder such as Contriever",
    )
    similarity: Literal["dot", "cosine"] = Field(
        "dot", description="similarity of a Hugging Face encoder's vectors: dot product or cosine"
    )
    encoder_tokens: int = Field(
        256, ge=8, description="longest text for a Hugging Face encoder, in tokens"
    )
    index_factory: str = Field(
        "Flat",
        description="kind of FAISS index, as `faiss.index_factory` takes it: Flat is exact; "
        "IVF4096,PQ64np for millions of passages is smaller, faster and approximate",
    )


class QuestionAnsweringSettings(Section):
    """How QA finds passages (paper: Atlas); its other settings are tools.QA.options."""

    retriever: Literal["bm25", "hybrid"] = Field(
        "hybrid", description="bm25, or hybrid: together with the vectors of passage_index"
    )
