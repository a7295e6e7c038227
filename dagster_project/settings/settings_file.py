"""`toolformer.yaml`: the settings of a home, written with comments at first use.

Every setting stands there as a commented line with the preset's value, so that the file shows what
can be set and a change of the preset still reaches what was not touched. Does not define settings.
"""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dagster_project.settings.presets import PRESETS
from dagster_project.settings.sections import (
    Settings,
    SettingsError,
    SourceSettings,
    merged,
    validated,
)
from dagster_project.settings.yaml_text import parsed, read_text, with_sources, without_source
from toolformer.ground.whole_files import write_whole
from tools.registry import TOOL_NAMES

_HEADER = """\
# Settings of this toolformer home. Everything the pipeline, the command line and the Dagster UI do
# follows this file; flags and Launchpad values override it for one run.
# A line that is commented out shows the preset's value. Remove the `# ` in front of it (and of its
# section) to change it.

# One of: paper (the paper's numbers), laptop (the embedded model), demo (minutes).
preset: {preset}
"""


def preset_values(preset: str) -> dict[str, Any]:
    """The values of a preset, those of the presets it builds on included.

    Raises:
        SettingsError: there is no such preset.
    """
    if preset not in PRESETS:
        raise SettingsError(
            f"There is no preset {preset!r}. Expected one of {', '.join(PRESETS)}. Correct the "
            "line `preset:` in toolformer.yaml or the flag --preset."
        )
    base, changes = PRESETS[preset]
    values = preset_values(base) if base else Settings().model_dump()
    return merged(values, {**changes, "preset": preset})


def load_settings(
    file: Path, *, overrides: Mapping[str, Any] | None = None, preset: str | None = None
) -> Settings:
    """The settings of a home.

    Args:
        file: `toolformer.yaml`; without one the preset's values hold.
        overrides: nested values that win over the file, for one run.
        preset: wins over the file's.

    Raises:
        SettingsError: the file or an override is not valid, or an override could name code; names
            setting and remedy.
    """
    given = _read(file)
    chosen = preset or str(given.get("preset", "laptop"))
    preset_given = preset_values(chosen)
    values = merged(preset_given, {**_without_empty(given, preset_given), "preset": chosen})
    settings = validated(values, origin=str(file))
    if overrides:
        _refuse_code(overrides)
        settings = validated(merged(values, overrides), origin="The settings of this run")
    return settings


def _refuse_code(overrides: Mapping[str, Any]) -> None:
    """Refuse changes for one run that could name code or a program.

    Whoever can start a run gives them; only the user writes the file. What a tool from outside
    makes of an option, it alone knows, so of its options only what cannot name anything is taken.

    Raises:
        SettingsError: names the setting and the remedy.
    """
    tools = overrides.get("tools")
    for name, section in tools.items() if isinstance(tools, Mapping) else ():
        if name in TOOL_NAMES or not isinstance(section, Mapping):
            continue
        options = section.get("options")
        given = {"class": section.get("class")}
        if isinstance(options, Mapping):
            given |= {f"options.{option}": value for option, value in options.items()}
        for setting, value in given.items():
            if not isinstance(value, int | float | None):
                raise SettingsError(
                    f"The settings of this run: tools.{name}.{setting} = {value!r} could name code "
                    "or a program to run. These are taken from toolformer.yaml alone: write the "
                    "setting there, and leave it out of --set and of the Launchpad's overrides."
                )


def write_settings_file(file: Path, *, preset: str) -> bool:
    """Write the commented file where there is none; says whether it did."""
    if file.exists():
        return False
    settings = validated(preset_values(preset), origin=f"preset {preset}")
    lines = [_HEADER.format(preset=preset)]
    for name in Settings.model_fields:
        section = getattr(settings, name)
        if isinstance(section, BaseModel):
            lines.extend(_section_lines(name, section, indent=0))
            lines.append("")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, "\n".join(lines))
    return True


def _section_lines(name: str, section: BaseModel, *, indent: int) -> list[str]:
    prefix = "# " + "  " * indent
    summary = (type(section).__doc__ or "").strip().splitlines()[0]
    lines = [f"{prefix}{name}:  # {summary}"] if indent == 0 else [f"{prefix}{name}:"]
    for field_name, field in type(section).model_fields.items():
        value = getattr(section, field_name)
        if isinstance(value, BaseModel):
            lines.extend(_section_lines(field_name, value, indent=indent + 1))
            continue
        note = f"  # {field.description}" if field.description and indent == 0 else ""
        lines.append(f"{prefix}  {field_name}: {_inline(value)}{note}")
    return lines


def _inline(value: Any) -> str:
    import json

    def plain(item: Any) -> Any:
        if isinstance(item, BaseModel):
            return item.model_dump(exclude_defaults=True)
        if isinstance(item, tuple):
            return [plain(each) for each in item]
        if isinstance(item, datetime.date):
            return item.isoformat()
        return dict(item) if isinstance(item, Mapping) else item

    return json.dumps(plain(value), ensure_ascii=False)


def add_sources(file: Path, sources: Sequence[SourceSettings]) -> None:
    """Append sources to the file, leaving the user's comments and values as they are.

    Raises:
        SettingsError: the file is not valid.
    """
    load_settings(file)
    entries = [source.model_dump(exclude_defaults=True, exclude_none=True) for source in sources]
    write_whole(file, with_sources(read_text(file), entries, origin=str(file)))


def remove_sources(file: Path, paths: Sequence[str]) -> None:
    """Take the entries with these paths out of the file, leaving all else as it is.

    Raises:
        SettingsError: the file is not valid.
    """
    text = read_text(file)
    for path in paths:
        text = without_source(text, path, origin=str(file))
    write_whole(file, text)


def listed_sources(file: Path) -> list[str]:
    """The paths of the sources that the file itself lists, not its preset."""
    corpus = _read(file).get("corpus", {})
    return [source["path"] for source in corpus.get("sources") or []]


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    content = parsed(read_text(file), origin=str(file))
    return {key: value for key, value in content.items() if value is not None}


def _without_empty(given: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The values given, without sections and lists that stand there with nothing below."""
    values = {}
    for name, value in given.items():
        of_base = base.get(name)
        if value is None and isinstance(of_base, Mapping | tuple | list):
            continue
        is_section = isinstance(value, Mapping) and isinstance(of_base, Mapping)
        values[name] = _without_empty(value, of_base) if is_section else value
    return values
