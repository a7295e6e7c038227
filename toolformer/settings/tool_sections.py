"""Settings of the tools, and of the indexes that WikiSearch and QA search."""

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
    """Settings of one tool (paper, appendix A and table 2)."""

    is_enabled: bool = Field(
        default=True, description="Use the tool unless a command or run names other tools."
    )
    sampling_threshold: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="τ_s: minimum probability of ` [` at a position where calls are sampled.",
    )
    positions_per_text: int = Field(
        default=5,
        ge=1,
        description="k: maximum number of positions per text at which calls are sampled.",
    )
    calls_per_position: int = Field(
        default=5, ge=1, description="m: number of calls sampled per position."
    )
    filtering_threshold: float = Field(
        default=1.0, ge=0, description="τ_f: minimum loss reduction of a kept call, in nats."
    )
    contrast_threshold: float | None = Field(
        default=None,
        ge=0,
        description="τ_c: how much more a kept call must lower the loss with its own result than "
        "with the result of another call, in nats. null: not checked, as in the paper.",
    )
    prompt: str | None = Field(
        default=None,
        description="File with a few-shot prompt of your own, with {text} for the text; or short, "
        "a prompt for small models that the tools of this project have. null: the tool's own "
        "prompt.",
    )
    options: Mapping[str, JsonValue] = Field(
        default_factory=dict, description="Options of the tool itself."
    )


class PluginSettings(ToolSettings):
    """A tool that is not part of this project; `tools.others` has its defaults."""

    target: str | None = Field(
        None, alias="class", description="Import path of the tool's class, as module:Class."
    )
    environment: tuple[str, ...] = Field(
        (),
        description="Names of environment variables that the tool's process receives, such as one "
        "with an API key.",
    )


class McpServerSettings(Section):
    """An MCP server, with either an address or a command."""

    url: Annotated[str, AfterValidator(checked_address)] | None = Field(
        None, description="Address of a running server, such as http://localhost:8931/mcp."
    )
    command: tuple[str, ...] | None = Field(
        None, description="Program and arguments that start the server; one is started per tool."
    )
    key_variable: str | None = Field(
        None,
        pattern="^[A-Z][A-Z0-9_]*$",
        description="Name of the environment variable that contains the key of a server with an "
        "address; never the key itself.",
    )
    start_seconds: float | None = Field(
        None,
        gt=0,
        description="Maximum time of the start, which may include a download, in seconds. null: "
        "30.",
    )
    allow: tuple[str, ...] = Field(
        min_length=1,
        description="Names of the server's tools to use. In calls, `_` replaces characters that "
        "tool names cannot contain.",
    )


class McpServersSettings(Section):
    """Tools of MCP servers."""

    from_mcp: tuple[McpServerSettings, ...] = Field(
        (), description="MCP servers whose tools are used."
    )


class ToolsSettings(McpServersSettings):
    """The five built-in tools, and your own tools by name. Default thresholds are the paper's."""

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
    others: ToolSettings = Field(ToolSettings(), description="Defaults of your own tools.")

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
        """Import paths of the tools that are not built in, as `module:Class` by name."""
        own = (self.model_extra or {}).items()
        return {name: settings.target for name, settings in own if settings.target}

    @property
    def names(self) -> tuple[str, ...]:
        """All tools: the built-in ones first."""
        return tool_names(self.targets)

    @property
    def enabled_names(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if self.of(name).is_enabled)

    def of(self, tool_name: str) -> ToolSettings:
        if tool_name in type(self).model_fields:
            return getattr(self, tool_name)
        own = (self.model_extra or {}).get(tool_name)
        if own is None:
            return self.others
        not_shared = set(PluginSettings.model_fields) - set(ToolSettings.model_fields)
        return self.others.model_copy(update=own.model_dump(exclude_unset=True, exclude=not_shared))

    def environment_of(self, tool_name: str) -> tuple[str, ...]:
        """Return the names of the environment variables that a plugin tool's process receives."""
        own = (self.model_extra or {}).get(tool_name)
        key = own and own.target == MCP_TOOL and own.options.get("key_variable")
        return (*own.environment, *([str(key)] if key else ())) if own else ()


def _with_mcp_tools(sections: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add a section for each tool of `from_mcp`; the user's section for it takes precedence."""
    servers = McpServersSettings(from_mcp=sections.get("from_mcp") or ()).from_mcp
    # Names must differ in more than case, since some file systems ignore case and would mix up
    # the partitions.
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
                    f"the name {name!r} is taken; leave {tool!r} out here, and add a section "
                    f"for it with another name and `class: {MCP_TOOL}`"
                )
                raise invalid(("from_mcp", number, "allow"), tool, error)
            taken.add(name.lower())
            own_options = {**options, "tool": tool, **given}
            made[name] = {**section, "class": MCP_TOOL, "options": own_options}
    return {**sections, **made}


def _unknown_tools(sections: Mapping[str, Any]) -> list[InitErrorDetails]:
    """Return an error for each invalid name or import path of a tool that is not built in."""
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
    """The articles that WikiSearch and QA search (paper: the Wikipedia dump of KILT)."""

    source: str = Field(
        "wikipedia-excerpt",
        description="Articles with the columns title, text and url: a path as in corpus.sources, "
        "such as hf://datasets/wikimedia/wikipedia/20231101.en/*.parquet or a local copy.",
    )
    passage_words: int = Field(100, ge=10, description="Maximum length of a passage, in words.")
    language: Language = Field(
        ENGLISH, description="Language of the articles. It selects the stemmer."
    )


class PassageIndexSettings(Section):
    """Dense vectors of the same passages, for hybrid retrieval (paper: Contriever, in Atlas)."""

    encoder: str = Field(
        "wordllama",
        description="wordllama (trained word vectors that come with the project), or the "
        "directory of a Hugging Face encoder such as Contriever.",
    )
    similarity: Literal["dot", "cosine"] = Field(
        "dot",
        description="Similarity of the vectors of a Hugging Face encoder: dot product or cosine.",
    )
    encoder_tokens: int = Field(
        256, ge=8, description="Maximum length of a text for a Hugging Face encoder, in tokens."
    )
    index_factory: str = Field(
        "Flat",
        description="Kind of FAISS index, in the notation of `faiss.index_factory`. Flat is "
        "exact. For millions of passages, IVF4096,PQ64np is smaller and faster, but approximate.",
    )


class QuestionAnsweringSettings(Section):
    """How QA finds passages (paper: Atlas). Its other settings are in tools.QA.options."""

    retriever: Literal["bm25", "hybrid"] = Field(
        "hybrid", description="bm25, or hybrid: BM25 together with the vectors of passage_index."
    )
