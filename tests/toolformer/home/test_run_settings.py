"""The settings of a run: the home's file, with what the Launchpad or a command changes."""

from typing import Any

import dagster as dg
import pytest

from dagster_project.commands.options import RunOptions
from toolformer.home.home import Home
from toolformer.home.resources.settings import SettingsResource
from toolformer.settings.errors import SettingsError
from toolformer.settings.sections import Settings

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


def loaded(**config: Any) -> tuple[SettingsResource, Settings]:
    """What an asset gets in a run with this configuration."""
    got: list[SettingsResource] = []

    @dg.asset
    def stage(settings: SettingsResource) -> None:
        got.append(settings)

    dg.materialize(
        [stage],
        resources={"settings": SettingsResource.configure_at_launch()},
        run_config={"resources": {"settings": {"config": config}}},
    )
    return got[0], got[0].load()


def test_what_is_not_written_follows_the_file(home: Home):
    home.settings_file.write_text("preset: laptop\ntools: {Calendar: {filtering_threshold: 2}}")
    given, settings = loaded()
    assert (given.overrides, given.force) == ({}, False)
    assert settings.tools.Calendar.filtering_threshold == 2
    one = {"tools": {"Calendar": {"positions_per_text": 9}}}
    given, settings = loaded(overrides=one, force=True)
    assert (given.overrides, given.force) == (one, True)
    calendar = settings.tools.Calendar
    assert (calendar.positions_per_text, calendar.filtering_threshold) == (9, 2)


@pytest.mark.usefixtures("home")
def test_a_mistake_in_the_launchpad_names_the_setting():
    with pytest.raises(SettingsError, match="filtering_treshold"):
        loaded(overrides={"tools": {"Calendar": {"filtering_treshold": 1}}})


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
    options = RunOptions.of([change], force=True)
    given, settings = loaded(**options.resources()["settings"])
    assert given.force
    assert settings == options.load_settings(home)
