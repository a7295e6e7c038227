"""The configuration that the Launchpad offers, and what it refuses before a run is launched."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pytest
from pydantic import BaseModel

from dagster_project.commands.options import RunOptions
from toolformer_home.home import Home
from toolformer_home.resources import launchpad
from toolformer_home.resources.launchpad import settings_of_launchpad
from toolformer_home.resources.settings import SettingsResource
from toolformer_home.settings.section import Section
from toolformer_home.settings.sections import Settings

FILE = """\
preset: small
tools:
  Calendar: {filtering_threshold: 0.25}
  Echo: {class: "tests.outside:Echo", positions_per_text: 7}
  others: {filtering_threshold: 0.75}
"""


@pytest.fixture
def home(home: Home) -> Home:
    home.root.mkdir()
    home.settings_file.write_text(FILE)
    return home


def fields() -> dict[str, dg.Field]:
    """All settings that are offered, by their full name."""
    top = settings_of_launchpad().config_schema.config_type.fields
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


def refusals(**config: Any) -> list[str]:
    """Why Dagster would not launch a run."""

    @dg.op(required_resource_keys={"settings"})
    def stage() -> None: ...

    @dg.job(resource_defs={"settings": settings_of_launchpad()})
    def stages() -> None:
        stage()

    try:
        dg.validate_run_config(stages, {"resources": {"settings": {"config": config}}})
    except dg.DagsterInvalidConfigError as error:
        return [each.message for each in error.errors]
    return []


def test_every_setting_is_offered_and_none_has_a_default():
    offered = fields()
    assert set(offered) == {*names(Settings)} - {"preset", "rounds"}
    assert not any(field.is_required or field.default_provided for field in offered.values())
    assert all(field.description for field in offered.values())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"tools": {"Calendar": {"filtering_treshold": 1}}}, '"filtering_treshold"'),
        ({"scoring": {"placement": "inlne"}}, "scoring:placement not in enum"),
        ({"scoring": {"window_tokens": "5"}}, 'not valid for expected type "Int"'),
        ({"corpus": {"sources": [{"limit": 2}]}}, 'required config entry "path"'),
        # What could name code.
        ({"rounds": []}, '"rounds"'),
    ],
)
def test_a_mistake_is_refused_before_the_launch(overrides: dict, said: str):
    (message,) = refusals(overrides=overrides)
    assert said in message


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
    resource = settings_of_launchpad()
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


@pytest.mark.parametrize(
    "change",
    [
        "evaluation.today=2024-02-29",
        "evaluation.items=1e3",
        "tools.Calculator.options={weak_share: 1}",
        "corpus.sources=[{path: starter-texts}]",
    ],
)
def test_what_the_command_line_takes_the_launchpad_takes(change: str, home: Home):
    options = RunOptions.of("paper", [change], force=True)
    config = options.resources()["settings"]
    assert refusals(**config) == []
    given, settings = loaded(settings_of_launchpad(), **config)
    assert given.force
    assert settings == options.load_settings(home)


def test_a_setting_of_a_new_type_is_noticed(monkeypatch: pytest.MonkeyPatch):
    class Changed(Section):
        ratio: complex = 1j

    monkeypatch.setattr(launchpad, "Settings", Changed)
    with pytest.raises(TypeError, match=r"setting ratio has the type .*complex"):
        settings_of_launchpad()
