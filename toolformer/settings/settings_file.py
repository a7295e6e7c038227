"""`toolformer.yaml`: the settings of a home, which name a preset and what differs from it."""

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolformer.base.atomic_files import beside, flush
from toolformer.settings.corpus_sections import (
    BUILT_IN_SOURCES,
    EMBEDDED_SOURCES,
    WIKIPEDIA_EXCERPT,
    CorpusSettings,
    SourceSettings,
    normalised_path,
)
from toolformer.settings.errors import SettingsError
from toolformer.settings.evaluation_sections import BASE, FINETUNED
from toolformer.settings.presets import PRESETS
from toolformer.settings.sections import Settings, merged, validated
from toolformer.settings.source_file import absolute_path, absolute_source, added_sources
from toolformer.settings.yaml_text import read_yaml
from tools.prompting import SHORT
from tools.registry import TOOL_NAMES
from tools.retrieval.word_vectors import WORDLLAMA

_HEADER = """\
# Settings of this toolformer home. Everything the pipeline, the command line and the Dagster UI do
# follows this file; flags and Launchpad values override it for one run. What it does not say, the
# preset does; docs/reference/settings.md lists all settings with the presets' values.
# A relative path is looked up from the folder of this file.

# One of: paper (the paper's numbers), laptop (the embedded model), demo (minutes), small (rounds
# of annotation for a small model).
preset: {preset}
"""
_OF_RUN = "The settings of this run"
# An entry of `rounds` holds any other section. All rounds annotate the same texts and search the
# same passages.
_SAME_IN_ALL_ROUNDS = ("preset", "rounds", "corpus", "wikipedia_index", "passage_index")
# The settings that name a file or folder, each with the words that are no path there.
_PATHS: dict[str, Any] = {
    "language_model": {"path": ("embedded",)},
    "corpus": {"sources": {"*": {"path": BUILT_IN_SOURCES}}},
    "sampling": {"annotator": (BASE, FINETUNED)},
    "tools": {
        "*": {"prompt": (SHORT,)},
        "MT": {"prompt": (SHORT,), "options": {"model_directory": ()}},
        "WikiSearch": {"prompt": (SHORT,), "options": {"index_directory": ()}},
    },
    "wikipedia_index": {"source": (WIKIPEDIA_EXCERPT,)},
    "passage_index": {"encoder": (WORDLLAMA,)},
    "evaluation": {
        "files": {"*": ()},
        "questions": {"*": {"path": ()}},
        "texts": {"*": ()},
        "models": {"*": ()},
    },
}
_PATHS["rounds"] = {"*": _PATHS}


def preset_values(preset: str) -> dict[str, Any]:
    """The values of a preset, those of the presets it builds on included.

    Raises:
        SettingsError: there is no such preset.
    """
    if preset not in PRESETS:
        raise SettingsError(
            f"There is no preset {preset!r}. Expected one of {', '.join(PRESETS)}. Correct the "
            "line `preset:` in toolformer.yaml."
        )
    changes = PRESETS[preset]
    base = changes.get("preset")
    values = preset_values(base) if base else Settings().model_dump()  # pyright: ignore[reportCallIssue]
    return merged(values, {**changes, "preset": preset})


def load_settings(file: Path, *, overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a home, as the round of annotation has them that `sampling.round` names.

    Args:
        file: `toolformer.yaml`; without one the preset's values hold. Relative paths are looked up
            from its folder. The sources of `sources.json` beside it stand behind its own.
        overrides: nested values that win over the file and what it says of the round, for one run.

    Raises:
        SettingsError: the file or an override is not valid, whichever round it concerns, or an
            override names the preset or could name code; names setting and remedy.
    """
    values, round_values, settings = _values_of_file(file)
    changes = _checked(overrides or {}, file)
    if round_values:
        values = round_values[_round_of_run(values, changes, file) - 1]
    elif not changes:
        return settings
    return validated(merged(values, changes), origin=_OF_RUN)


def settings_of_rounds(file: Path, *, overrides: Mapping[str, Any] | None = None) -> list[Settings]:
    """The settings of each round that a home's file lists; a file without `rounds` has one.

    Args and errors as of `load_settings`; a round that `overrides` name is not looked at where the
    file lists some. Those of a round have no list of rounds themselves.
    """
    values, round_values, _ = _values_of_file(file)
    changes = _checked(overrides or {}, file)
    if not round_values:
        return [_validated_round(merged(values, changes), _OF_RUN)]
    return [
        _validated_round(merged(merged(of_round, changes), {"sampling": {"round": n}}), _OF_RUN)
        for n, of_round in enumerate(round_values, start=1)
    ]


def _values_of_file(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]], Settings]:
    """What the file says: the values, those of each round that it lists, and the settings."""
    given = with_absolute_paths(_with_added_sources(_read(file), file), file.parent)
    chosen = str(given.get("preset", "laptop"))
    preset_given = preset_values(chosen)
    values = merged(preset_given, {**_without_empty(given, preset_given), "preset": chosen})
    round_values = _values_of_rounds(values, origin=str(file))
    settings = validated(values, origin=str(file))
    # A mistake in a later round is told before the first one is begun.
    for number, values_of_round in enumerate(round_values, start=1):
        _validated_round(values_of_round, f"{file}, round {number}")
    return values, round_values, settings


def _validated_round(values: dict[str, Any], origin: str) -> Settings:
    # Without the list, which would be checked once for each of its entries.
    return validated({**values, "rounds": []}, origin=origin)


def _checked(overrides: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The changes for one run, which name no preset and no code, with absolute paths."""
    overrides = dict(with_absolute_paths(overrides, file.parent))
    if "preset" in overrides:
        raise SettingsError(
            f"{_OF_RUN}: `preset` cannot be overridden, since all other values depend on it. Set "
            "it in toolformer.yaml."
        )
    _refuse_code(overrides)
    return overrides


def with_absolute_paths(values: Any, folder: Path, paths: Any = _PATHS) -> Any:
    """Nested values of settings, in which each path is absolute.

    Args:
        values: as in toolformer.yaml; what is not valid stays as it is.
        folder: that relative paths are looked up from.
    """
    if isinstance(paths, tuple):
        is_path = isinstance(values, str) and values.strip() and values not in paths
        return absolute_path(values, folder) if is_path else values
    if isinstance(values, list | tuple):
        return [with_absolute_paths(value, folder, paths.get("*", {})) for value in values]
    if isinstance(values, Mapping):
        return {
            name: with_absolute_paths(value, folder, paths.get(name, paths.get("*", {})))
            for name, value in values.items()
        }
    return values


def _values_of_rounds(values: Mapping[str, Any], *, origin: str) -> list[dict[str, Any]]:
    """The file's values as each entry of `rounds` changes them; none where there are no entries.

    Raises:
        SettingsError: an entry cannot be one; whether its settings are valid is not looked at.
    """
    entries = values["rounds"]
    if not isinstance(entries, list | tuple):
        return []
    all_rounds = []
    for number, entry in enumerate(entries, start=1):
        wrong = f"{origin}, round {number}:"
        if not isinstance(entry, Mapping):
            raise SettingsError(
                f"{wrong} {entry!r} is no entry of `rounds`. Expected the sections that the round "
                "changes, such as `sampling: {uses_prompt: false}`, or {} for none."
            )
        shared = [name for name in _SAME_IN_ALL_ROUNDS if name in entry]
        if shared:
            raise SettingsError(
                f"{wrong} {', '.join(shared)} cannot be changed here, since it is the same in all "
                "rounds. Set it outside of `rounds`."
            )
        # The model of the round before annotates, where a later round does not name another.
        implied = {"round": number} | ({"annotator": FINETUNED} if number > 1 else {})
        with_implied = merged(values, {"sampling": implied})
        round_values = merged(with_implied, _without_empty(entry, values))
        sampling = round_values["sampling"]
        if isinstance(sampling, Mapping) and sampling["round"] != number:
            raise SettingsError(
                f"{wrong} sampling.round = {sampling['round']!r}, but the place in the list is "
                "the number of the round. Remove the line."
            )
        all_rounds.append(round_values)
    return all_rounds


def _round_of_run(values: Mapping[str, Any], overrides: Mapping[str, Any], file: Path) -> int:
    """The round that a run is for, where the file lists some.

    Raises:
        SettingsError: the file does not list it.
    """
    given = overrides.get("sampling")
    run_values = (
        {"round": given["round"]} if isinstance(given, Mapping) and "round" in given else {}
    )
    chosen = validated(merged(values, {"sampling": run_values}), origin=_OF_RUN)
    number, entries = chosen.sampling.round, len(chosen.rounds)
    if number > entries:
        raise SettingsError(
            f"sampling.round is {number}, but `rounds` in {file} has {entries} "
            f"{'entry' if entries == 1 else 'entries'}. Expected one entry per round: add it "
            f"there; {{}} changes only the annotator."
        )
    return number


def _refuse_code(overrides: Mapping[str, Any]) -> None:
    """Refuse changes for one run that could name code or a program.

    Whoever can start a run gives them; only the user writes the file. What a tool from outside
    makes of an option, it alone knows, so of its options only what cannot name anything is taken.

    Raises:
        SettingsError: names the setting and the remedy.
    """
    if "rounds" in overrides:
        raise SettingsError(
            f"{_OF_RUN}: `rounds` is taken from toolformer.yaml alone: write it "
            "there, and name the round with sampling.round in --set or the Launchpad's overrides."
        )
    tools = overrides.get("tools")
    for name, section in tools.items() if isinstance(tools, Mapping) else ():
        given = {}
        if name == "from_mcp":
            # What stands there may be a key.
            given = {name: section and "…"}
        elif name not in TOOL_NAMES and isinstance(section, Mapping):
            options = section.get("options")
            given = {f"{name}.class": section.get("class")}
            if isinstance(options, Mapping):
                given |= {f"{name}.options.{option}": options[option] for option in options}
        for setting, value in given.items():
            if not isinstance(value, int | float | None):
                raise SettingsError(
                    f"{_OF_RUN}: tools.{setting} = {value!r} could name code "
                    "or a program to run. These are taken from toolformer.yaml alone: write the "
                    "setting there, and leave it out of --set and of the Launchpad's overrides."
                )


def write_settings_file(file: Path, *, preset: str) -> None:
    """Write a file that names a preset, unless the file exists."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with beside(file) as temporary, suppress(FileExistsError):
        temporary.write_text(_HEADER.format(preset=preset), encoding="utf-8")
        flush(temporary)
        try:
            # Another process may have written the file; a rename would replace it.
            os.link(temporary, file)
        except FileExistsError:
            raise
        except OSError:
            # The file system has no hard links.
            file.touch(exist_ok=False)
            temporary.replace(file)


def _read(file: Path) -> dict[str, Any]:
    # A link that leads nowhere is a file that is gone, and none that was never there.
    if not os.path.lexists(file):
        return {}
    return {key: value for key, value in read_yaml(file).items() if value is not None}


def listed_sources(file: Path) -> set[str]:
    """The absolute paths of the sources that the files list, and not the preset."""
    return sources_of_user(file) | {source.path for source in added_sources(file)}


def corpus_sources(settings: Settings, stored: Collection[str]) -> Sequence[SourceSettings]:
    """Return the listed sources; if none is listed, the preset's or the embedded ones.

    A home with shards of its own whose list is lost or empty is not mixed with these: only those
    that have shards already are returned then.

    Args:
        stored: the sources that have shards.
    """
    of_preset = CorpusSettings(sources=preset_values(settings.preset)["corpus"]["sources"])  # pyright: ignore[reportCallIssue]
    if settings.corpus.sources not in ((), of_preset.sources):
        return settings.corpus.sources
    implied = settings.corpus.sources or EMBEDDED_SOURCES
    if set(BUILT_IN_SOURCES).issuperset(stored):
        return implied
    return [source for source in implied if normalised_path(source.path) in stored]


def sources_of_user(file: Path) -> set[str]:
    """The absolute paths of the sources that `toolformer.yaml` lists."""
    listed = _read(file).get("corpus", {}).get("sources") or []
    return {absolute_source(source["path"], file.parent) for source in listed}


def _with_added_sources(given: dict[str, Any], file: Path) -> dict[str, Any]:
    """The values of the file, with the sources that were added to those that it lists.

    Of a source that both list, the file's entry holds.
    """
    added, corpus = added_sources(file), given.get("corpus", {})
    listed = (corpus.get("sources") or []) if isinstance(corpus, Mapping) else None
    if not added or not isinstance(listed, list):
        return given
    paths = [source.get("path") for source in listed if isinstance(source, Mapping)]
    known = {absolute_source(path, file.parent) for path in paths if isinstance(path, str)}
    further = [source for source in added if source.path not in known]
    return {**given, "corpus": {**corpus, "sources": [*listed, *further]}}


def _without_empty(given: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The values given, without sections and lists that stand there with nothing below."""
    values = {}
    for name, value in given.items():
        base_value = base.get(name)
        if value is None and isinstance(base_value, Mapping | tuple | list):
            continue
        if isinstance(value, Mapping) and isinstance(base_value, Mapping):
            value = _without_empty(value, base_value)
        values[name] = value
    return values
