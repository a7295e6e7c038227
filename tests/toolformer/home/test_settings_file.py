"""`toolformer.yaml`: what is written, what is read, and what a mistake in it says."""

import json
from pathlib import Path

import pytest

from dagster_project.commands.options import RunOptions
from toolformer.settings.corpus_sections import SourceSettings
from toolformer.settings.errors import SettingsError
from toolformer.settings.presets import PRESETS
from toolformer.settings.sections import Settings
from toolformer.settings.settings_file import (
    listed_sources,
    load_settings,
    preset_values,
    sources_of_user,
    write_settings_file,
)
from toolformer.settings.source_file import sources_file, write_added_sources

FIRST = SourceSettings.model_validate({"path": "/a b.jsonl", "limit": 5})
EXOTIC = SourceSettings.model_validate({"path": "/é: #", "license": "cc-by-sa-4.0"})


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home" / "toolformer.yaml"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_file_written_at_first_use_gives_the_preset(file: Path, preset: str):
    file.write_text(f"preset: {preset}\n")
    without = load_settings(file)
    file.unlink()
    write_settings_file(file, preset=preset)
    assert load_settings(file) == without
    # It is there now, and left alone.
    before = file.read_bytes()
    write_settings_file(file, preset="demo")
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir()] == ["toolformer.yaml"]


def test_file_wins_over_preset_and_overrides_win_over_the_file(file: Path):
    file.write_text("preset: demo\nsampling:\n  seed: 3\n  temperature: 0.5\n")
    settings = load_settings(file, overrides={"sampling": {"seed": 9}})
    assert settings.sampling.seed == 9
    assert settings.sampling.temperature == 0.5
    assert settings.training.epochs == preset_values("demo")["training"]["epochs"]


@pytest.mark.parametrize(
    ("tools", "setting"),
    [
        ({"Echo": {"class": "os:system"}}, "tools.Echo.class = 'os:system'"),
        ({"New": {"class": "os:system"}}, "tools.New.class = 'os:system'"),
        ({"Echo": {"options": {"command": ["sh"]}}}, "tools.Echo.options.command = ['sh']"),
        ({"Echo": {"options": {"environment": {"LD_PRELOAD": "x"}}}}, "options.environment"),
        # What all tools from outside have.
        ({"others": {"options": {"command": ["sh"]}}}, "tools.others.options.command"),
    ],
)
def test_what_could_name_code_is_taken_from_the_file_alone(file: Path, tools: dict, setting: str):
    file.write_text("tools:\n  Echo: {class: 'm:Echo', options: {command: [python, a.py]}}\n")
    flag = f"tools={json.dumps(tools)}"
    # In the Launchpad, and with --set.
    for overrides in ({"tools": tools}, RunOptions.of([flag]).overrides):
        with pytest.raises(SettingsError, match=r"only be set in toolformer\.yaml") as raised:
            load_settings(file, overrides=overrides)
        assert setting in str(raised.value)


def test_what_cannot_name_code_can_be_changed_for_one_run(file: Path):
    file.write_text("tools:\n  Echo: {class: 'm:Echo', options: {command: [python, a.py]}}\n")
    changes = {
        "Echo": {"prompt": "/a.txt", "options": {"times": 2, "seconds": 0.5, "is_loud": True}},
        "MT": {"options": {"model_directory": "/models/nllb"}},
    }
    tools = load_settings(file, overrides={"tools": changes}).tools
    assert tools.targets == {"Echo": "m:Echo"}
    expected = {"command": ["python", "a.py"], "times": 2, "seconds": 0.5, "is_loud": True}
    assert tools.of("Echo").options == expected
    assert tools.of("Echo").prompt == "/a.txt"
    assert tools.of("MT").options["model_directory"] == "/models/nllb"
    with pytest.raises(SettingsError, match="QA is built in and cannot be replaced"):
        load_settings(file, overrides={"tools": {"QA": {"class": "os:system"}}})


_PATHS = """
language_model: {path: BELOW/model}
corpus: {sources: [{path: BELOW/texts/*.jsonl}, {path: starter-texts}, {path: "s3://a/b"}]}
tools:
  QA: {prompt: BELOW/qa.txt}
  MT: {prompt: short, options: {model_directory: BELOW/nllb}}
  WikiSearch: {options: {index_directory: BELOW/index}}
wikipedia_index: {source: BELOW/dump.xml}
passage_index: {encoder: BELOW/encoder}
evaluation:
  files: {asdiv: BELOW/asdiv.xml}
  questions: {mine: {path: BELOW/mine.jsonl}}
  texts: {wiki: BELOW/wiki.txt}
  models: {other: BELOW/other}
rounds: [{}, {sampling: {annotator: finetuned}}, {sampling: {annotator: BELOW/annotator}}]
"""


def test_relative_paths_are_looked_up_from_the_folder_of_the_file(file: Path, monkeypatch):
    def loaded(below: str) -> Settings:
        file.write_text(_PATHS.replace("BELOW", below))
        return load_settings(file, overrides={"sampling": {"round": 3}})

    absolute = loaded(f"{file.parent}/named")
    assert loaded("named") == loaded("./named") == loaded("../home/named") == absolute
    monkeypatch.chdir(file.parent)
    assert loaded("named") == absolute
    assert absolute.sampling.annotator == f"{file.parent}/named/annotator"
    # These words are no paths.
    assert [source.path for source in absolute.corpus.sources[1:]] == ["starter-texts", "s3://a/b"]
    assert absolute.tools.MT.prompt == "short"
    assert absolute.rounds[1]["sampling"]["annotator"] == "finetuned"


def test_a_path_of_a_flag_is_looked_up_from_where_the_command_runs(file: Path, monkeypatch):
    elsewhere = file.parent.parent
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("TOOLFORMER_HOME", str(file.parent))
    options = RunOptions.of(["language_model.path=model", "evaluation.texts={mine: a.txt}"])
    of_run = options.resources()["settings"]["overrides"]
    assert of_run["language_model"]["path"] == str(elsewhere / "model")
    assert of_run["evaluation"]["texts"] == {"mine": str(elsewhere / "a.txt")}
    of_launchpad = {"language_model": {"path": "model"}}
    assert load_settings(file, overrides=of_launchpad).language_model.path == str(
        file.parent / "model"
    )


def test_sources_of_both_files_make_the_corpus(file: Path):
    write_settings_file(file, preset="laptop")
    assert not listed_sources(file)
    write_added_sources(file, [FIRST, EXOTIC])
    assert load_settings(file).corpus.sources == (FIRST, EXOTIC)
    file.write_text("corpus: {shard_size: 7, sources: [{path: mine.txt}]}  # mine\n")
    written = file.read_bytes()
    write_added_sources(file, [EXOTIC])
    settings = load_settings(file)
    assert [source.path for source in settings.corpus.sources] == [
        str(file.parent / "mine.txt"),
        EXOTIC.path,
    ]
    assert settings.corpus.shard_size == 7
    assert sources_of_user(file) == {str(file.parent / "mine.txt")}
    mine = SourceSettings.model_validate({"path": str(file.parent / "mine.txt"), "limit": 3})
    write_added_sources(file, [mine])
    assert [source.limit for source in load_settings(file).corpus.sources] == [None]
    assert listed_sources(file) == {mine.path}
    assert file.read_bytes() == written


@pytest.mark.parametrize(
    "content",
    ["", '{"sources": {}}', '[{"path": "/a"}]', '{"sources": [{"pth": "/a"}]}', "[" * 9_999],
)
def test_a_damaged_list_of_sources_is_an_error_that_names_it(file: Path, content: str):
    write_settings_file(file, preset="laptop")
    sources_file(file).write_text(content)
    with pytest.raises(SettingsError, match=r"sources"):
        load_settings(file)


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("- 1\n- 2\n", None, "has no settings"),
        ("sampling:\n  temperatur: 1\n", None, "Did you mean 'temperature'"),
        ("preset: laptop\ncorpus:\n\tshard_size: 7\n", 3, "cannot start any token"),
        ("corpus:\n  shard_size: 7\n\ncorpus:\n  shard_size: 8\n", 4, "duplicate key"),
        ("sampling:\n  seed: \x00\n", 2, "does not allow one of its characters"),
    ],
)
def test_a_mistake_in_the_form_is_told_with_its_line(file: Path, content, line, words):
    file.write_text(content)
    with pytest.raises(SettingsError, match=words) as raised:
        load_settings(file)
    assert str(file) in str(raised.value)
    assert file.read_text() == content
    assert line is None or f"in line {line}" in str(raised.value)
    assert "<unicode string>" not in str(raised.value)
    assert "\n" not in str(raised.value)


# Rounds of annotation

ROUNDS = """\
preset: laptop
sampling: {temperature: 0.5}
tools: {Calculator: {filtering_threshold: 0.7}}
rounds:
  - tools: {Calculator: {filtering_threshold: 0.1}}
    sampling:
  - sampling: {uses_prompt: false}
    tools: {Calculator: {positions_per_text: 6}, Calendar: {filtering_threshold: 0.2}}
  - {sampling: {annotator: /models/other, uses_prompt: false}}
"""


def of_round(file: Path, number: int, **overrides) -> Settings:
    sampling = {"round": number, **overrides.pop("sampling", {})}
    return load_settings(file, overrides={"sampling": sampling, **overrides})


@pytest.fixture
def scheduled(file: Path) -> Path:
    file.write_text(ROUNDS)
    return file


def test_each_round_has_the_files_settings_with_what_its_entry_changes(scheduled: Path):
    first = load_settings(scheduled)
    assert first == of_round(scheduled, 1)
    assert first.tools.Calculator.filtering_threshold == 0.1
    assert (first.sampling.annotator, first.sampling.uses_prompt) == ("base", True)
    second = of_round(scheduled, 2)
    assert second.tools.Calculator.filtering_threshold == 0.7
    assert second.tools.Calculator.positions_per_text == 6
    assert second.tools.Calendar.filtering_threshold == 0.2
    # The round before annotates, unless the entry names another.
    assert (second.sampling.annotator, second.sampling.uses_prompt) == ("finetuned", False)
    assert of_round(scheduled, 3).sampling.annotator == "/models/other"
    assert {of_round(scheduled, number).sampling.temperature for number in (1, 2, 3)} == {0.5}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{tools: {Calculator: {positions_per_text: 0}}}", "round 2: tools.Calculator.positions"),
        ("{sampling: {annotator: base, uses_prompt: false}}", "round 2: sampling.uses_prompt"),
        ("{rounds: []}", "round 2: rounds cannot be set per round"),
        ("{corpus: {window_tokens: 9}, passage_index: {}}", "corpus, passage_index cannot be"),
        ("{sampling: {round: 3}}", "sampling.round = 3, but the position in the list"),
        ("5", "round 2: 5 is not a valid entry of `rounds`"),
    ],
)
def test_a_mistake_in_an_entry_is_told_with_its_round_whichever_is_run(
    file: Path, entry: str, message: str
):
    file.write_text(f"rounds:\n  - {{}}\n  - {entry}\n")
    for load in (load_settings, lambda each: of_round(each, 1)):
        with pytest.raises(SettingsError, match=message) as raised:
            load(file)
        assert str(file) in str(raised.value)


def test_rounds_that_are_no_list_and_rounds_that_are_not_listed_are_named(scheduled: Path):
    with pytest.raises(SettingsError, match=r"sampling.round is 4, but .* has 3 entries"):
        of_round(scheduled, 4)
    with pytest.raises(SettingsError, match=r"sampling.round = 'two' is not valid"):
        load_settings(scheduled, overrides={"sampling": {"round": "two"}})
    # Their tools could name code.
    with pytest.raises(SettingsError, match=r"`rounds` can only be set in toolformer\.yaml"):
        load_settings(scheduled, overrides={"rounds": [{}]})
    scheduled.write_text("rounds: 2\n")
    with pytest.raises(SettingsError, match="rounds = 2 is not valid"):
        load_settings(scheduled)


def test_what_is_changed_for_one_run_wins_over_the_entry_of_its_round(scheduled: Path):
    changes = {"Calculator": {"positions_per_text": 9}}
    settings = of_round(scheduled, 2, sampling={"annotator": "/models/mine"}, tools=changes)
    assert settings.tools.Calculator.positions_per_text == 9
    assert settings.sampling.annotator == "/models/mine"
    assert settings.tools.Calendar.filtering_threshold == 0.2
    # YAML on the command line and JSON in the Launchpad write it in several ways.
    assert load_settings(scheduled, overrides={"sampling": {"round": "2"}}) == of_round(
        scheduled, 2
    )
