"""The pages of docs/reference/, made from what they describe: settings, tables and commands."""

import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types as bounds
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from assets.stage import ANY_TOOL
from dagster_project.cli import PANELS, command, program
from dagster_project.examples import EXAMPLES
from tests.assets.setting_effects import effect
from tests.view_descriptions import ViewDescription, parse_view_description
from toolformer.settings.corpus_sections import SourceSettings
from toolformer.settings.evaluation_sections import QuestionFileSettings
from toolformer.settings.presets import PRESETS
from toolformer.settings.sections import Settings, validated
from toolformer.settings.tool_sections import (
    McpServerSettings,
    PluginSettings,
    ToolSettings,
    ToolsSettings,
)
from warehouse.counting import COUNTS
from warehouse.needs import STATISTICS_VIEWS
from warehouse.schema import TableSchema, sql_texts, tables

_MADE = "<!-- Written by `make docs`. -->"
# Titles, tables and views of the pages that `tables.md` links. Each takes a few minutes to read.
_RELATION_PAGES = {
    "tables-of-texts.md": (
        "Tables of texts",
        "documents rejected_records reading_losses text_marks document_selection augmented_texts "
        "training_texts training_exclusions",
    ),
    "tables-of-calls.md": (
        "Tables of calls",
        "prompts candidate_calls executed_calls scored_calls filtered_calls stage_costs",
    ),
    "tables-of-scores.md": (
        "Tables of training and evaluation",
        "training_metrics evaluation_results score_intervals paired_differences",
    ),
    "views-of-calls.md": (
        "Views of calls and partitions",
        "all_calls call_funnel call_proposals call_provenance call_statistics drop_reasons "
        "kept_examples loss_reductions threshold_sweep partition_metadata",
    ),
    "views-of-judgements.md": (
        "Views of human judgements and annotations",
        "labels judged_calls label_agreement label_precision calls_at_marks filter_by_marks",
    ),
    "views-of-scores.md": (
        "Views of training and evaluation",
        "answers_with_calls call_calibration call_use evaluation_difference evaluation_summary "
        "evaluation_table paper_results table_edits training_exclusion_summary",
    ),
}
_TYPES = {int: "integer", float: "number", bool: "true or false", str: "text"}
_LIST_ITEMS = {"integer": "integers", "text": "texts", "map": "maps"}
_LIMITS = ((bounds.Ge, "ge", "≥"), (bounds.Gt, "gt", ">"), (bounds.Le, "le", "≤"))
_LIMITS += ((bounds.Lt, "lt", "<"), (bounds.MinLen, "min_length", "length ≥"))


_SETTINGS_INTRODUCTION = """# Settings

{made}

A setting is named by its path, such as `training.epochs`. There are three ways to set it:

- `$TOOLFORMER_HOME/toolformer.yaml` sets it for all commands and runs of the home;
- `--set PATH=VALUE` sets it for one command;
- `overrides` in the Launchpad set it for one run.

All other values come from the preset. The default values are those of the preset `paper`, and the \
paper's own wherever it gives one. `laptop` changes some defaults; `demo` and `small` change some \
values of `laptop`. The column *presets* lists these changes.

The column *recomputes* names the stages whose rows depend on the setting. After a change, the \
next build computes these rows again, and then everything that depends on them. \
`toolformer build --dry-run` lists what that is in your home.

| page | sections |
| --- | --- |
{pages}"""


@dataclass(frozen=True, slots=True)
class _SettingsPage:
    """A page of the reference: sections of the settings, and entries of their lists."""

    title: str
    sections: Sequence[str]
    entries: Mapping[str, type[BaseModel]]


_SETTINGS_PAGES = {
    "settings.md": _SettingsPage(
        "Models, texts and runs",
        ("language_model", "corpus", "runs"),
        {"An entry of `corpus.sources`": SourceSettings},
    ),
    "settings-of-annotation.md": _SettingsPage(
        "Annotation and tools",
        (
            *("sampling", "execution", "scoring", "tools"),
            *("wikipedia_index", "passage_index", "question_answering"),
        ),
        {"An entry of `tools.from_mcp`": McpServerSettings},
    ),
    "settings-of-training.md": _SettingsPage(
        "Training and evaluation",
        ("training", "decoding", "evaluation"),
        {"An entry of `evaluation.questions`": QuestionFileSettings},
    ),
}


def settings_page(file: str) -> str:
    """Describe the settings of one page: values, default, presets, meaning and effect."""
    page = _SETTINGS_PAGES[file]
    parts = [
        f"# Settings: {page.title.lower()}",
        f"{_MADE}\n\n[Settings](settings.md) explains how to set a value, and the columns.",
    ]
    if file == "settings.md":
        pages = [
            f"| [{each.title}]({name}) | {', '.join(f'`{path}`' for path in each.sections)} |"
            for name, each in _SETTINGS_PAGES.items()
        ]
        parts = [_SETTINGS_INTRODUCTION.format(made=_MADE, pages="\n".join(pages))]
        parts.append(_section(Settings, "")[0])
    for name in page.sections:
        section = Settings.model_fields[name].annotation
        assert isinstance(section, type)
        assert issubclass(section, BaseModel)
        parts += _sections(section, f"{name}.")
    for title, entry in page.entries.items():
        rows = [
            [f"`{name}`", _values(field), _default_of(field), field.description or ""]
            for name, field in entry.model_fields.items()
        ]
        parts.append(f"## {title}\n\n{_table(['name', 'values', 'default', 'meaning'], rows)}")
    return "\n\n".join(parts) + "\n"


def tables_page() -> str:
    """Index of tables and views with links to their pages, and the counts of partitions."""
    head = f"""# Tables and views

{_MADE}

`toolformer sql "select …"` reads them, and so does DuckDB in `warehouse.duckdb`; start with these \
[queries](../sql.md). Losses and thresholds are in nats."""
    described = {name: table.description for name, table in tables().items()}
    parts = [head, "## Tables", _linked(described)]
    described = {name: _described(name).description for name in sorted(STATISTICS_VIEWS)}
    parts += ["## Views", _linked(described)]
    parts.append(
        "## Counts\n\nThe catalogue of a shard stores counts of each partition's rows. Views add "
        "them up without reading rows."
    )
    rows = [
        [f"`{name}`", f"`{table}`", parse_view_description(sql_texts("counts")[name]).description]
        for name, table in COUNTS.items()
    ]
    parts.append(_table(["counts", "rows of table", "meaning"], rows))
    return "\n\n".join(parts) + "\n"


def _linked(descriptions: Mapping[str, str]) -> str:
    """One line per table or view: a link to its section and the first sentence about it."""
    pages = {name: file for file, (_, names) in _RELATION_PAGES.items() for name in names.split()}
    return "\n".join(
        f"- [`{name}`]({pages[name]}#{name}): {re.split(r'(?<=[.]) ', description)[0]}"
        for name, description in descriptions.items()
    )


def _relations_page(title: str, names: str) -> str:
    """Tables or views with their columns."""
    sections = (
        _table_of(tables()[name]) if name in tables() else _view_of(name) for name in names.split()
    )
    head = f"# {title}\n\n{_MADE}\n\n[All tables and views](tables.md)"
    return "\n\n".join([head, *sections]) + "\n"


def commands_page() -> str:
    """Every command with its options."""
    whole = program()
    head = f"""# Commands

{_MADE}

`toolformer COMMAND --help` shows the same. `toolformer --install-completion` completes commands, \
options and their values in your shell."""
    own = f"## `toolformer`\n\n{_options(whole, typer.Context(whole))}"
    commands = {name: command(name) for lines in PANELS.values() for name in lines}
    return "\n\n".join([head, own, *_commands(commands, "toolformer")]) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    **{file: partial(settings_page, file) for file in _SETTINGS_PAGES},
    "tables.md": tables_page,
    **{
        file: partial(_relations_page, title, names)
        for file, (title, names) in _RELATION_PAGES.items()
    },
    "commands.md": commands_page,
}


def _sections(section: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield the settings of a section, then those of the sections in it."""
    text, inner = _section(section, prefix)
    yield text
    for path, below in inner.items():
        yield from _sections(below, f"{path}.")


def _section(section: type[BaseModel], prefix: str) -> tuple[str, dict[str, type[BaseModel]]]:
    """Return the settings of a section, and the sections in it by path."""
    is_of_tool = section is ToolsSettings
    fields = PluginSettings.model_fields if is_of_tool else section.model_fields
    outer = f"{prefix}{ANY_TOOL}." if is_of_tool else prefix
    rows = []
    inner: dict[str, type[BaseModel]] = {}
    for name, field in fields.items():
        path = f"{outer}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            inner[path] = field.annotation
            continue
        default = _tool_defaults(name) if is_of_tool else _default_of(field)
        presets = _in_presets(path.split("."))
        rows.append(
            [f"`{path}`", _values(field), default, presets, field.description or "", effect(path)]
        )
    title = f"## `{prefix.rstrip('.')}`" if prefix else "## Preset and rounds"
    columns = ["setting", "values", "default", "presets", "meaning", "recomputes"]
    return f"{title}\n\n{_first_line(section)}\n\n{_table(columns, rows)}", inner


def _tool_defaults(name: str) -> str:
    """The default of a setting of tools, and the tools that have another."""
    if name not in ToolSettings.model_fields:
        return _default_of(PluginSettings.model_fields[name])
    general = getattr(ToolSettings(), name)  # pyright: ignore[reportCallIssue]
    tools = validated({}, origin="the defaults").tools
    own = {
        tool: getattr(tools.of(tool), name)
        for tool in ToolsSettings.model_fields
        if tool != "from_mcp"
    }
    return _grouped({"": general} | {t: value for t, value in own.items() if value != general})


def _in_presets(names: list[str]) -> str:
    """Return the values that presets set; for a setting of tools, with the names of the tools."""
    if names == ["preset"]:
        return ""
    parts = []
    for preset, changes in PRESETS.items():
        if names[:2] == ["tools", ANY_TOOL]:
            of_tools = changes.get("tools", {})
            values = {tool: of[names[2]] for tool, of in of_tools.items() if names[2] in of}
        else:
            *outer, last = names
            section: Any = changes
            for name in outer:
                section = section.get(name, {})
            values = {"": section[last]} if last in section else {}
        if names[-1] in ("rounds", "sources") and values:
            parts.append(f"{preset}: {len(values[''])} {names[-1]}")
        elif values:
            parts.append(f"{preset}: {_grouped(values)}")
    return "; ".join(parts)


def _grouped(values: Mapping[str, Any]) -> str:
    """Values with the tools that have them in brackets."""
    tools: dict[str, list[str]] = {}
    for tool, value in values.items():
        tools.setdefault(_literal(value), []).append(tool)
    return ", ".join(
        f"{value} ({', '.join(names)})" if any(names) else value for value, names in tools.items()
    )


def _default_of(field: FieldInfo) -> str:
    return "required" if field.is_required() else _literal(_plain_default(field))


def _plain_default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)  # pyright: ignore[reportCallIssue]


def _literal(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False, default=str)}`"


def _values(field: FieldInfo) -> str:
    """Type and bounds of a setting."""
    limits = [
        f"{sign} {getattr(each, name):,}"
        for each in field.metadata
        for kind, name, sign in _LIMITS
        if isinstance(each, kind)
    ]
    return ", ".join([_type(field.annotation), *limits])


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type(each) for each in arguments)
    if origin is tuple:
        return f"list of {_LIST_ITEMS.get(_type(arguments[0]), _type(arguments[0]))}"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "map"
    if annotation is type(None):
        return "`null`"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "entries, see below"
    return _TYPES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _table_of(table: TableSchema) -> str:
    rows = [
        [f"`{column.name}`", column.type, _null(column.is_required), column.description]
        for column in table.columns
    ]
    key = ", ".join(f"`{name}`" for name in table.primary_key)
    columns = _table(["column", "type", "may be NULL", "meaning"], rows)
    return f"## `{table.name}`\n\n{table.description} Key: {key}.\n\n{columns}"


def _null(is_required: bool) -> str:
    return "" if is_required else "yes"


def _view_of(name: str) -> str:
    described = _described(name)
    rows = [[f"`{column}`", meaning] for column, meaning in described.columns.items()]
    return f"## `{name}`\n\n{described.description}\n\n{_table(['column', 'meaning'], rows)}"


def _described(view: str) -> ViewDescription:
    return parse_view_description(sql_texts("views")[view])


def _commands(commands: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, found in commands.items():
        full = f"{path} {name}"
        context = typer.Context(found, info_name=full)
        usage = " ".join([full, *found.collect_usage_pieces(context)])
        about, *more = (found.help or "").split("\n\n\b\n")
        parts = [f"## `{full}`", about, f"`{usage}`"]
        for block in more:
            listed, *behind = block.split("\n\n")
            parts += [f"```text\n{listed}\n```", *behind]
        if lines := EXAMPLES.get(full.removeprefix("toolformer ")):
            parts.append("```text\n" + "\n".join(lines) + "\n```")
        yield "\n\n".join([*parts, _options(found, context)])
        yield from _commands(getattr(found, "commands", {}), full)


def _options(command: Any, context: typer.Context) -> str:
    """What a command takes; what all commands take stands at the first alone."""
    records = [
        parameter.get_help_record(context)
        for parameter in command.params
        if context.info_name is None or parameter.name != "_quiet"
    ]
    rows = [[f"`{name.strip()}`", text] for name, text in filter(None, records)]
    return _table(["option", "meaning"], rows) if rows else "No options."


def _first_line(section: type[BaseModel]) -> str:
    return (inspect.getdoc(section) or "").split("\n\n")[0]


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns)]
    lines += [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
