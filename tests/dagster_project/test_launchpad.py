"""The configuration that the Launchpad offers, and what it refuses before a run is launched."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import BaseModel

from dagster_project.commands.options import RunOptions
from dagster_project.home import Home
from dagster_project.resources import launchpad
from dagster_project.resources.launchpad import settings_of_launchpad
from dagster_project.resources.settings import SettingsResource
from dagster_project.settings.section import Section
from dagster_project.settings.sections import Settings
from dagster_project.settings.tool_sections import PluginSettings

FILE = """\
preset: small
tools:
  Calendar: {filtering_threshold: 0.25}
  Echo: {class: "tests.outside:Echo", positions_per_text: 7}
  others: {filtering_threshold: 0.75}
"""
# One of a tool's options may be a password.
ECHO = '{class: "tests.outside:Echo", options: {token: secret, times: 2}}'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    (tmp_path / "toolformer.yaml").write_text(FILE)
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    return Home(tmp_path)


def fields(home: Home) -> dict[str, dg.Field]:
    """All settings that are offered, by their full name."""
    top = settings_of_launchpad(home).config_schema.config_type.fields
    return dict(below(top["overrides"].config_type.fields))


def below(of: Mapping[str, dg.Field], start: str = "") -> Iterator[tuple[str, dg.Field]]:
    for name, field in of.items():
        yield f"{start}{name}", field
        yield from below(getattr(field.config_type, "fields", None) or {}, f"{start}{name}.")


def names(section: type[BaseModel], start: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield f"{start}{name}"
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from names(kind, f"{start}{name}.")


def refusals(home: Home, **config: Any) -> list[str]:
    """Why Dagster would not launch a run."""

    @dg.op(required_resource_keys={"settings"})
    def stage() -> None: ...

    @dg.job(resource_defs={"settings": settings_of_launchpad(home)})
    def stages() -> None:
        stage()

    try:
        dg.validate_run_config(stages, {"resources": {"settings": {"config": config}}})
    except dg.DagsterInvalidConfigError as error:
        return [each.message for each in error.errors]
    return []


def test_every_setting_is_offered_and_none_has_a_default(home: Home):
    offered = fields(home)
    own = {f"tools.Echo.{name}" for name in PluginSettings.model_fields} - {"tools.Echo.target"}
    assert set(offered) == {*names(Settings), "tools.Echo", *own} - {"preset", "rounds"}
    assert not any(field.is_required or field.default_provided for field in offered.values())
    assert all(field.description for field in offered.values())


def test_a_description_has_bounds_and_the_value_in_force(home: Home):
    described = {name: field.description for name, field in fields(home).items()}
    assert described["tools.Calendar.filtering_threshold"] == (
        "τ_f, in nats · at least 0 · in force: 0.25"
    )
    assert described["tools.QA.sampling_threshold"] == (
        "τ_s, a probability · at least 0 and below 1 · in force: 0.0005"
    )
    # Its round changes it; a tool of one's own has what it does not say itself from `others`.
    assert described["sampling.shards"].endswith(" · at least 1 · in force: 9")
    assert described["tools.Echo.filtering_threshold"].endswith("in force: 0.75")
    assert described["tools.Echo.calls_per_position"].endswith("in force: 2")
    assert described["training.rounds"].endswith(" · entries: at least 1 · in force: null")
    assert described["tools"].startswith("The five tools")


def test_what_a_tool_from_outside_is_given_stays_in_the_file(home: Home):
    home.settings_file.write_text(f"{FILE.splitlines()[0]}\ntools:\n  Echo: {ECHO}\n")
    described = fields(home)["tools.Echo.options"].description or ""
    assert described.endswith('in force: {"token": "…", "times": "…"}')


def test_long_values_in_force_are_cut(home: Home):
    home.settings_file.write_text(f"evaluation: {{files: {{asdiv: {'/' + 'x' * 200}}}}}")
    described = fields(home)["evaluation.files"].description or ""
    assert len(described) < 200
    assert described.endswith("xxx…")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"tools": {"Calender": {}}}, 'unexpected config entry "Calender"'),
        ({"tools": {"Calendar": {"filtering_treshold": 1}}}, '"filtering_treshold"'),
        ({"samplin": {}}, '"samplin"'),
        ({"scoring": {"placement": "inlne"}}, "scoring:placement not in enum"),
        ({"scoring": {"window_tokens": "5"}}, 'not valid for expected type "Int"'),
        ({"tools": {"QA": {"is_enabled": None}}}, "is_enabled must not be None"),
        ({"corpus": {"sources": [{"limit": 2}]}}, 'required config entry "path"'),
        # What could name code.
        ({"rounds": []}, '"rounds"'),
        ({"tools": {"Echo": {"class": "os:system"}}}, '"class"'),
    ],
)
def test_a_mistake_is_refused_before_the_launch(overrides: dict, said: str, home: Home):
    (message,) = refusals(home, overrides=overrides)
    assert said in message


def test_a_preset_is_one_of_the_presets(home: Home):
    (message,) = refusals(home, preset="papr")
    assert "preset not in enum type preset got papr" in message
    assert not refusals(home, preset="paper")


@pytest.mark.parametrize(
    "overrides",
    [
        {"tools": {"Calendar": {"filtering_threshold": 0.5, "contrast_threshold": None}}},
        {"tools": {"Calculator": {"options": {"weak_share": 1, "anything": [{"deep": 1}]}}}},
        {"tools": {"Echo": {"positions_per_text": 3}}},
        {"corpus": {"sources": [{"path": "starter-texts", "tools": ["Calendar"]}]}},
        {"training": {"rounds": [1, 2], "loss_weights": {"call": 2}}},
        {"evaluation": {"files": {"asdiv": "a.jsonl"}, "questions": {"mine": {"prompt": "?"}}}},
        {"evaluation": {"call_top_ks": [0, 1], "today": "2024-02-29", "benchmarks": ["dateset"]}},
        {},
    ],
)
def test_settings_of_every_kind_are_taken(overrides: dict, home: Home):
    assert refusals(home, overrides=overrides) == []


def loaded(resource: dg.ResourceDefinition, **config: Any) -> tuple[SettingsResource, Settings]:
    """What an asset gets in a run with this configuration."""
    got: list[SettingsResource] = []

    @dg.asset
    def stage(settings: SettingsResource) -> None:
        got.append(settings)

    run_config = {"resources": {"settings": {"config": config}}}
    dg.materialize([stage], resources={"settings": resource}, run_config=run_config)
    return got[0], got[0].load()


def test_what_is_not_written_follows_the_file_also_after_the_definitions_were_loaded(home: Home):
    resource = settings_of_launchpad(home)
    home.settings_file.write_text("preset: laptop\ntools: {Calendar: {filtering_threshold: 2}}")
    given, settings = loaded(resource)
    assert (given.overrides, given.preset, given.force) == ({}, "", False)
    assert settings.tools.Calendar.filtering_threshold == 2
    one = {"tools": {"Calendar": {"positions_per_text": 9}}}
    given, settings = loaded(resource, overrides=one, preset="paper", force=True)
    assert (given.overrides, given.preset, given.force) == (one, "paper", True)
    calendar = settings.tools.Calendar
    assert (calendar.positions_per_text, calendar.filtering_threshold) == (9, 2)
    assert calendar.sampling_threshold == 0.05


def test_a_file_that_is_not_valid_hides_no_setting_and_is_told(home: Home):
    offered = set(fields(home))
    home.settings_file.write_text("samplin: {}")
    top = settings_of_launchpad(home).config_schema.config_type.fields
    assert "not known: " in top["overrides"].description
    assert "Did you mean 'sampling'?" in top["overrides"].description
    home.settings_file.unlink()
    home.settings_file.mkdir()
    assert "Is a directory" in str(
        settings_of_launchpad(home).config_schema.config_type.fields["overrides"].description
    )
    without_own = {name for name in offered if not name.startswith("tools.Echo")}
    assert set(fields(home)) == without_own
    assert fields(home)["sampling.seed"].description == "of all random numbers · at least 0"


@pytest.mark.parametrize(
    "change",
    [
        "evaluation.today=2024-02-29",
        "evaluation.items=1e3",
        "tools.QA.is_enabled=no",
        "tools.Echo.positions_per_text=2",
        "tools.Calculator.options={weak_share: 1}",
        "corpus.sources=[{path: starter-texts}]",
        "training.steps=null",
    ],
)
def test_what_the_command_line_takes_the_launchpad_takes(change: str, home: Home):
    options = RunOptions.of("paper", [change], force=True)
    config = options.resources()["settings"]
    assert refusals(home, **config) == []
    given, settings = loaded(settings_of_launchpad(home), **config)
    assert given.force
    assert settings == options.load_settings(home)


def test_a_setting_of_a_new_type_is_noticed(home: Home, monkeypatch: pytest.MonkeyPatch):
    class Changed(Section):
        ratio: complex = 1j

    monkeypatch.setattr(launchpad, "Settings", Changed)
    with pytest.raises(TypeError, match=r"setting ratio has the type .*complex"):
        settings_of_launchpad(home)
