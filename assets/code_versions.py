"""The code version that Dagster has of each stage: its version, and what its rows depend on.

That is the settings, and the contents of the files that they name. So Dagster shows what was made
with others as out of date, and `annotate_new_shards` makes it again. Whether rows are out of date,
their fingerprints decide; these also hold what takes a model or a process to find out.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import CODE_VERSION_TAG

from assets.stage import ANY_TOOL, Stage, setting_value
from toolformer.base.beside_models import MIN_CALL_PROBABILITY_FILE
from toolformer.base.digests import file_digest, hex_digest
from toolformer.home.fingerprints import Fingerprint
from toolformer.home.home import Home
from toolformer.home.resources.settings import SettingsResource
from toolformer.settings.sections import Settings
from tools.plugins.mcp_tool import MCP_TOOL
from tools.plugins.own_files import digests_of_own_files, imported_modules

# Each round and each variant of the model has outputs of its own.
_OF_OUTPUT = ("sampling.round", "training.variant")
_SOURCES = "corpus.sources"
# Of a longer file its size and some blocks count: a code location loads in seconds.
_LONGEST_WHOLE = 2**25
_BLOCKS, _BLOCK_BYTES = 64, 4096


def code_version(stage: Stage, rounds: Sequence[Settings], home: Home) -> str:
    """The code version of a stage's asset."""
    paths = [path for path in stage.all_settings if path not in _OF_OUTPUT]
    if not paths:
        return stage.version
    values = {
        f"{number} {path.replace(ANY_TOOL, tool)}": _value(stage, settings, path, tool, home)
        for number, settings in enumerate(rounds, start=1)
        for path in paths
        for tool in (settings.tools.switched_on if ANY_TOOL in path else ("",))
    }
    return f"{stage.version}-{Fingerprint.of(values).digest[:12]}"


def code_version_tags(context: dg.AssetExecutionContext, stage: Stage) -> dict[str, str]:
    """The tags of a materialisation: the code version by the settings of the run, as they are now.

    Dagster would take that of the file when the run's process began, whatever the run overrides.
    """
    resource: SettingsResource = context.resources.settings
    return {CODE_VERSION_TAG: code_version(stage, resource.load_rounds(), Home.find())}


def _value(stage: Stage, settings: Settings, path: str, tool: str, home: Home) -> object:
    """The value of a setting, in which contents stand in place of files."""
    if path == _SOURCES and path not in stage.settings:
        # A stage of shards depends on who annotates a source. A new one changes no other.
        return [[each.path, each.tools] for each in settings.corpus.sources if each.tools]
    value = setting_value(settings, path, tool)
    target = settings.tools.targets.get(tool)
    if path.endswith(".class"):
        return target and [target, _own_files(target)]
    # What a server runs is no file that rows depend on, and what a source holds makes other shards.
    return value if path == _SOURCES or target == MCP_TOOL else _with_contents(value, home.root)


def _own_files(target: str) -> list[str]:
    """The contents of the user's own files that a tool's module reaches by its imports."""
    module = target.partition(":")[0]
    modules = imported_modules(f"import {module}".encode(), package="")
    return digests_of_own_files({file: package for _, file, package in modules})


def _with_contents(value: Any, folder: Path) -> Any:
    """Nested values in which digests stand in place of files, below the folder or by whole path."""
    if isinstance(value, list | tuple):
        return [_with_contents(each, folder) for each in value]
    if isinstance(value, Mapping):
        return {name: _with_contents(each, folder) for name, each in value.items()}
    # Most texts are no path, and some cannot be one.
    with suppress(OSError, ValueError, TypeError):
        place = folder / value
        if place.is_file():
            return _content([place])
        if value.startswith("/") and (files := [*place.glob("*"), *place.glob("*/*")]):
            return _content(sorted(files))
    return value


def _content(places: Iterable[Path]) -> str:
    files = (
        file
        for file in places
        # A model card is written anew with each evaluation.
        if file.is_file() and file.name != MIN_CALL_PROBABILITY_FILE and file.suffix != ".md"
    )
    return hex_digest(*([file.name, _digest(file)] for file in files))


def _digest(file: Path) -> str:
    if (size := file.stat().st_size) <= _LONGEST_WHOLE:
        return file_digest(file)
    with file.open("rb") as stream:
        starts = range(0, size, size // _BLOCKS)
        blocks = [stream.read(_BLOCK_BYTES) for start in starts if stream.seek(start) == start]
    return hex_digest(size, *blocks)
