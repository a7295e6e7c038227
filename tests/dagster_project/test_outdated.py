"""What commands say of calls that a build would make anew, before they read them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dagster_project.commands import planning
from dagster_project.commands.options import RunOptions
from dagster_project.runs.plan import PlannedPartition
from tests.warehouse.rows import put, save_manifest
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import open_warehouse
from toolformer.settings.sections import Settings
from warehouse.layout import name_in_round
from warehouse.schema import ALL


@pytest.fixture(autouse=True)
def _all_out_of_date(monkeypatch):
    def forecast(*_: object, shards: list[str], **__: object) -> SimpleNamespace:
        why = "changed: prompt"
        planned = [PlannedPartition(shard, "candidate_calls", "QA", why) for shard in shards]
        return SimpleNamespace(partitions=planned, cut=[])

    monkeypatch.setattr(planning, "forecast_build", forecast)


def texts_of(home: Home, shards: int, number: int = 1) -> None:
    keys = [f"shard-{number:05d}" for number in range(shards)]
    save_manifest(home.sources, *keys)
    for key in keys:
        warehouse = open_warehouse(home)
        text, name = {"round": number}, name_in_round(number, ALL)
        put(warehouse, "augmented_texts", text, shard=key, name=name, fingerprint="texts")


ROUNDS = "rounds: [{}, {sampling: {uses_prompt: false}}]"
SECOND = {"sampling": {"round": 2}}


@pytest.mark.parametrize(
    ("file", "overrides", "told"),
    [
        ("", {}, [1]),
        ("sampling: {round: 2, annotator: finetuned}", {}, [2]),
        ("sampling: {round: 2, is_chained: true}", {}, [2]),
        (ROUNDS, {}, [1, 2]),
        ("", SECOND, [1, 2]),
        ("sampling: {round: 2, is_chained: true}", SECOND, [2]),
        # Which model that is it would have to be asked.
        (
            "language_model: {path: tokenizer, server: {url: 'http://127.0.0.1:9', model: m}}",
            {},
            [],
        ),
    ],
)
def test_of_rounds_whose_settings_are_not_known_nothing_is_said(
    tmp_path: Path, capsys, file, overrides, told
):
    home = Home(tmp_path)
    for number in (1, 2):
        texts_of(home, 1, number)
    home.settings_file.write_text(f"preset: laptop\n{file}\n")
    planning.report_outdated(RunOptions(overrides), home, [1, 2])
    expected = ["", " --set sampling.round=2"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("`")[2].partition("`")[0] for line in lines] == [
        f"toolformer build{expected[number - 1]}" for number in told
    ]


@pytest.mark.parametrize("asked", [[2], [2, 1]])
def test_of_a_chained_round_the_round_whose_calls_it_goes_on_with_is_told_once(
    tmp_path: Path, capsys, asked: list[int]
):
    home = Home(tmp_path)
    for number in (1, 2):
        texts_of(home, 1, number)
    home.settings_file.write_text("preset: laptop\nrounds: [{}, {sampling: {is_chained: true}}]\n")
    planning.report_outdated(RunOptions(), home, asked)
    first, second = capsys.readouterr().out.splitlines()
    assert "`toolformer build` brings" in first
    assert "`toolformer build --set sampling.round=2` brings" in second


SHARP = "tools.QA.filtering_threshold=7"


@pytest.mark.parametrize(
    ("options", "threshold", "same"),
    [
        # With `--rounds 2` the round before was built with the same flags a moment ago.
        (RunOptions.of([SHARP]).in_round(2), 7.0, " with the same --set"),
        (RunOptions().in_round(2), 1.0, ""),
        (RunOptions.of([SHARP, "sampling.round=2"]), 1.0, ""),
    ],
)
def test_flags_hold_for_the_round_before_where_they_are_of_all_rounds(
    tmp_path: Path, capsys, monkeypatch, options, threshold, same
):
    home, planned = Home(tmp_path), planning.forecast_build
    texts_of(home, 1)
    home.settings_file.write_text("preset: laptop\nrounds: [{}, {sampling: {is_chained: true}}]\n")

    def forecast(settings: Settings, *given: Any, **named: Any) -> object:
        assert settings.tools.of("QA").filtering_threshold == threshold
        return planned(settings, *given, **named)

    monkeypatch.setattr(planning, "forecast_build", forecast)
    planning.report_outdated(options, home, [1])
    assert f"`toolformer build`{same} brings" in capsys.readouterr().out


def test_shards_that_were_built_and_are_left_out_now_are_told_and_named(tmp_path: Path, capsys):
    home = Home(tmp_path)
    texts_of(home, 4)

    def told(limit: str) -> list[str]:
        options = RunOptions({"sampling": {"shards": int(limit)}})
        planning.report_outdated(options, home, [1])
        return capsys.readouterr().out.splitlines()

    [outdated] = told("4")
    assert "`toolformer build` with" in outdated
    counted, outdated = told("2")
    assert counted.startswith("2 shards beyond sampling.shards have texts of round 1 ")
    named = "--shards shard-00000,shard-00001,shard-00002,shard-00003"
    assert f"`toolformer build {named}` with" in outdated
