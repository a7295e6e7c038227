"""Reads `toolformer.yaml`, which names a preset and the settings that differ from it."""

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
# Settings of this toolformer home, for the command line, the pipeline and the Dagster UI. Flags and
# Launchpad values override them for one run. The preset has the values of all settings that this
# file does not set; docs/reference/settings.md lists them.
# Relative paths start at the folder of this file.

# One of: paper (the paper's numbers), laptop (the embedded model), demo (minutes), small (rounds
# of annotation for a small model).
preset: {preset}
"""
_OF_RUN = "The settings of this run"
# An entry of `rounds` cannot change these: all rounds annotate the same texts and search the same
# passages.
_SAME_IN_ALL_ROUNDS = ("preset", "rounds", "corpus", "wikipedia_index", "passage_index")
# The settings whose values are paths, each with the words that are allowed instead of a path.
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
    """Return the values of a preset, including those of the presets it builds on."""
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
    """Return the settings of a home for the round of annotation that `sampling.round` names.

    `file` is `toolformer.yaml`, which need not exist. The sources of `sources.json` in the same
    folder are appended to its own. Overrides win over the file and over its entry for the round.

    Raises:
        SettingsError: the file, for any round, or an override is invalid; or an override sets the
            preset or could name code.
    """
    values, round_values, settings = _values_of_file(file)
    changes = _checked(overrides or {}, file)
    if round_values:
        values = round_values[_round_of_run(values, changes, file) - 1]
    elif not changes:
        return settings
    return validated(merged(values, changes), origin=_OF_RUN)


def settings_of_rounds(file: Path, *, overrides: Mapping[str, Any] | None = None) -> list[Settings]:
    """Return the settings of each round in `rounds`, or of a single round if there is no list.

    Like `load_settings`, but `sampling.round` in the overrides has no effect if there is a list.
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
    """Return the file's values, the values of each round, and the validated settings."""
    given = with_absolute_paths(_with_added_sources(_read(file), file), file.parent)
    chosen = str(given.get("preset", "laptop"))
    preset_given = preset_values(chosen)
    values = merged(preset_given, {**_without_empty(given, preset_given), "preset": chosen})
    round_values = _values_of_rounds(values, origin=str(file))
    settings = validated(values, origin=str(file))
    # Validate all rounds now, so that an error in a later round appears before the first one runs.
    for number, values_of_round in enumerate(round_values, start=1):
        _validated_round(values_of_round, f"{file}, round {number}")
    return values, round_values, settings


def _validated_round(values: dict[str, Any], origin: str) -> Settings:
    # Drop the list of rounds, which would otherwise be validated once per entry.
    return validated({**values, "rounds": []}, origin=origin)


def _checked(overrides: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return the overrides with absolute paths; raise if they set the preset or could name code."""
    overrides = dict(with_absolute_paths(overrides, file.parent))
    if "preset" in overrides:
        raise SettingsError(
            f"{_OF_RUN}: `preset` cannot be overridden, since all other values depend on it. Set "
            "it in toolformer.yaml."
        )
    _refuse_code(overrides)
    return overrides


def with_absolute_paths(values: Any, folder: Path, paths: Any = _PATHS) -> Any:
    """Return nested values in which relative paths are resolved against a folder."""
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
    """Return the file's values with the changes of each entry of `rounds`, not validated yet."""
    entries = values["rounds"]
    if not isinstance(entries, list | tuple):
        return []
    all_rounds = []
    for number, entry in enumerate(entries, start=1):
        wrong = f"{origin}, round {number}:"
        if not isinstance(entry, Mapping):
            raise SettingsError(
                f"{wrong} {entry!r} is not a valid entry of `rounds`. Expected the sections that "
                "the round changes, such as `sampling: {uses_prompt: false}`, or {} for none."
            )
        shared = [name for name in _SAME_IN_ALL_ROUNDS if name in entry]
        if shared:
            raise SettingsError(
                f"{wrong} {', '.join(shared)} cannot be set per round, since all rounds share it. "
                "Set it outside of `rounds`."
            )
        # By default, the model of the previous round annotates a later round.
        implied = {"round": number} | ({"annotator": FINETUNED} if number > 1 else {})
        with_implied = merged(values, {"sampling": implied})
        round_values = merged(with_implied, _without_empty(entry, values))
        sampling = round_values["sampling"]
        if isinstance(sampling, Mapping) and sampling["round"] != number:
            raise SettingsError(
                f"{wrong} sampling.round = {sampling['round']!r}, but the position in the list is "
                "the number of the round. Remove the line."
            )
        all_rounds.append(round_values)
    return all_rounds


def _round_of_run(values: Mapping[str, Any], overrides: Mapping[str, Any], file: Path) -> int:
    """Return the round of a run; raise a SettingsError if `rounds` has no entry for it."""
    given = overrides.get("sampling")
    run_values = (
        {"round": given["round"]} if isinstance(given, Mapping) and "round" in given else {}
    )
    chosen = validated(merged(values, {"sampling": run_values}), origin=_OF_RUN)
    number, entries = chosen.sampling.round, len(chosen.rounds)
    if number > entries:
        raise SettingsError(
            f"sampling.round is {number}, but `rounds` in {file} has {entries} "
            f"{'entry' if entries == 1 else 'entries'}. Expected one entry per round. Add an entry "
            f"there, for instance {{}}, which changes only the annotator."
        )
    return number


def _refuse_code(overrides: Mapping[str, Any]) -> None:
    """Raise a SettingsError if overrides could name code or a program to run.

    Anyone who can start a run chooses the overrides, but only the owner writes the file. We cannot
    know how a plugin uses its options, so only numbers and null are allowed for them.
    """
    if "rounds" in overrides:
        raise SettingsError(
            f"{_OF_RUN}: `rounds` can only be set in toolformer.yaml. Write it there, and choose "
            "the round with sampling.round in --set or in the Launchpad's overrides."
        )
    tools = overrides.get("tools")
    for name, section in tools.items() if isinstance(tools, Mapping) else ():
        given = {}
        if name == "from_mcp":
            # The value may contain a key.
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
                    "or a program to run. Such settings can only be set in toolformer.yaml. Write "
                    "it there, and remove it from --set or the Launchpad's overrides."
                )


def write_settings_file(file: Path, *, preset: str) -> None:
    """Write a file with only a preset, unless the file exists."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with beside(file) as temporary, suppress(FileExistsError):
        temporary.write_text(_HEADER.format(preset=preset), encoding="utf-8")
        flush(temporary)
        try:
            # A rename would replace a file that another process has written meanwhile.
            os.link(temporary, file)
        except FileExistsError:
            raise
        except OSError:
            # The file system has no hard links.
            file.touch(exist_ok=False)
            temporary.replace(file)


def _read(file: Path) -> dict[str, Any]:
    # A dangling link must raise an error, since its target probably existed once. Only a missing
    # file means that the home has no settings.
    if not os.path.lexists(file):
        return {}
    return {key: value for key, value in read_yaml(file).items() if value is not None}


def listed_sources(file: Path) -> set[str]:
    """Return the absolute paths of the sources in both files, without those of the preset."""
    return sources_of_user(file) | {source.path for source in added_sources(file)}


def corpus_sources(settings: Settings, stored: Collection[str]) -> Sequence[SourceSettings]:
    """Return the listed sources; if none is listed, the preset's or the embedded ones.

    `stored` are the sources that have shards. If the user's own sources are among them, the list
    was probably lost. Then only default sources that already have shards are returned, so that no
    new texts are mixed in.
    """
    of_preset = CorpusSettings(sources=preset_values(settings.preset)["corpus"]["sources"])  # pyright: ignore[reportCallIssue]
    if settings.corpus.sources not in ((), of_preset.sources):
        return settings.corpus.sources
    implied = settings.corpus.sources or EMBEDDED_SOURCES
    if set(BUILT_IN_SOURCES).issuperset(stored):
        return implied
    return [source for source in implied if normalised_path(source.path) in stored]


def sources_of_user(file: Path) -> set[str]:
    """Return the absolute paths of the sources that `toolformer.yaml` lists."""
    listed = _read(file).get("corpus", {}).get("sources") or []
    return {absolute_source(source["path"], file.parent) for source in listed}


def _with_added_sources(given: dict[str, Any], file: Path) -> dict[str, Any]:
    """Append the sources of `sources.json` that the file's values do not list."""
    added, corpus = added_sources(file), given.get("corpus", {})
    listed = (corpus.get("sources") or []) if isinstance(corpus, Mapping) else None
    if not added or not isinstance(listed, list):
        return given
    paths = [source.get("path") for source in listed if isinstance(source, Mapping)]
    known = {absolute_source(path, file.parent) for path in paths if isinstance(path, str)}
    further = [source for source in added if source.path not in known]
    return {**given, "corpus": {**corpus, "sources": [*listed, *further]}}


def _without_empty(given: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Remove sections and lists that are null, as after commenting out everything below a key."""
    values = {}
    for name, value in given.items():
        base_value = base.get(name)
        if value is None and isinstance(base_value, Mapping | tuple | list):
            continue
        if isinstance(value, Mapping) and isinstance(base_value, Mapping):
            value = _without_empty(value, base_value)
        values[name] = value
    return values
