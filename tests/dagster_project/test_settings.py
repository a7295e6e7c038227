"""Settings: the paper's numbers, presets, and errors that name the mistake."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from dagster_project.home import home_folder
from dagster_project.settings.errors import SettingsError
from dagster_project.settings.presets import PRESETS
from dagster_project.settings.sections import Settings, merged, validated
from dagster_project.settings.settings_file import preset_values
from dagster_project.settings.tool_sections import ToolsSettings
from tools.registry import TOOL_NAMES

nested = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)
_SEEDED = ("sampling", "training", "evaluation")
sections = st.dictionaries(st.sampled_from("abcd"), nested, max_size=4)


def of_preset(name: str) -> Settings:
    return validated(preset_values(name), origin=name)


def test_the_paper_preset_has_the_papers_numbers():
    paper = of_preset("paper")
    for name in ("QA", "WikiSearch", "Calendar"):
        tool = paper.tools.of(name)
        assert (tool.sampling_threshold, tool.filtering_threshold) == (0.05, 1.0)
        assert (tool.positions_per_text, tool.calls_per_position) == (5, 5)
    for name in ("Calculator", "MT"):
        tool = paper.tools.of(name)
        assert (tool.sampling_threshold, tool.filtering_threshold) == (0.0, 0.5)
        assert (tool.positions_per_text, tool.calls_per_position) == (20, 10)
    training = paper.training
    assert (training.learning_rate, training.warmup_share) == (1e-5, 0.1)
    assert (training.batch_size, training.epochs, training.max_tokens) == (128, 2, 1024)
    assert training.max_texts_per_tool == 25_000
    assert paper.decoding.call_top_k == 10
    assert paper.decoding.min_call_probability == 0
    assert paper.decoding.max_calls == 1


# `small` goes lower, and has a contrast or a second round for it.
@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"small"}))
def test_no_preset_goes_below_half_the_papers_filtering_threshold(preset: str):
    paper, settings = of_preset("paper"), of_preset(preset)
    assert settings.preset == preset
    for name in TOOL_NAMES:
        least = paper.tools.of(name).filtering_threshold / 2
        assert settings.tools.of(name).filtering_threshold >= least


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_holds_only_what_differs_from_what_it_builds_on(preset: str):
    base, changes = PRESETS[preset]
    before = preset_values(base) if base else Settings().model_dump()

    def same(values: dict, old: dict, place: str) -> list[str]:
        found = []
        for name, value in values.items():
            if isinstance(value, dict) and isinstance(old.get(name), dict):
                found += same(value, old[name], f"{place}{name}.")
            elif old.get(name) == value:
                found.append(place + name)
        return found

    assert same(changes, before, "") == []


def test_the_demo_builds_on_the_laptop():
    assert of_preset("demo").sampling.max_new_tokens == of_preset("laptop").sampling.max_new_tokens
    assert of_preset("demo").training.max_tokens < of_preset("laptop").training.max_tokens


def test_a_misspelt_setting_is_named_with_the_nearest_known():
    with pytest.raises(SettingsError) as raised:
        validated({"sampling": {"temperatur": 1.0}}, origin="toolformer.yaml")
    text = str(raised.value)
    assert text.startswith("toolformer.yaml: There is no setting 'sampling.temperatur'.")
    assert "Did you mean 'temperature'?" in text
    assert "max_new_tokens" in text


def test_a_misspelt_section_and_a_misspelt_tool_are_named():
    with pytest.raises(SettingsError, match=r"'samplng'.*Did you mean 'sampling'"):
        validated({"samplng": {}}, origin="x")
    with pytest.raises(SettingsError, match=r"'tools.Calulator'.*Did you mean 'Calculator'"):
        validated({"tools": {"Calulator": {}}}, origin="x")
    with pytest.raises(SettingsError, match=r"'tools.QA.filter_threshold'"):
        validated({"tools": {"QA": {"filter_threshold": 1}}}, origin="x")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"sampling": {"temperature": 0}}, "sampling.temperature = 0"),
        ({"tools": {"QA": {"sampling_threshold": 1.0}}}, "tools.QA.sampling_threshold = 1.0"),
        ({"tools": {"QA": {"positions_per_text": 0}}}, "tools.QA.positions_per_text = 0"),
        ({"training": {"steps": "many"}}, "training.steps = 'many'"),
        ({"language_model": {"precision": "float8"}}, "language_model.precision = 'float8'"),
        ({"evaluation": {"benchmarks": ["lambada"]}}, "there is no benchmark 'lambada'"),
        ({"evaluation": {"benchmarks": ["lama-squat"]}}, "Did you mean 'lama-squad'?"),
        ({"evaluation": {"files": {"trivia": "x"}}}, "belong into evaluation.questions"),
        ({"evaluation": {"questions": {"nq": {"path": "x"}}}}, "'nq' cannot be the name"),
        ({"corpus": {"sources": [{"format": "jsonl"}]}}, "corpus.sources.0.path"),
        (
            {"corpus": {"sources": [{"path": "a"}, {"path": "b", "tools": ["Calender"]}]}},
            "corpus.sources.1.tools = ('Calender',) is not valid: there is no tool 'Calender'",
        ),
        ({"preset": "desktop"}, "preset = 'desktop'"),
        ({"corpus": 7}, "corpus = 7"),
        ({"sampling": {"round": 0}}, "sampling.round = 0"),
        ({"training": {"rounds": []}}, "training.rounds = []"),
        ({"training": {"rounds": [1, 0]}}, "training.rounds.1 = 0"),
        *[({section: {"seed": 10**400}}, f"{section}.seed = 10") for section in _SEEDED],
        ({"sampling": {"temperature": float("inf")}}, "sampling.temperature = inf"),
        ({"execution": {"deadline_seconds": "inf"}}, "execution.deadline_seconds = 'inf'"),
        ({"execution": {"deadline_seconds": 1e300}}, "execution.deadline_seconds = 1e+300"),
        ({"execution": {"worker_memory_gib": 1e300}}, "execution.worker_memory_gib = 1e+300"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate = nan"),
        ({"training": {"loss_weights": {"call": float("inf")}}}, "training.loss_weights.call = in"),
        ({"training": {"rounds": [10**400]}}, "training.rounds = [10"),
        ({"tools": {"MT": {"options": {"a": [float("inf")]}}}}, "tools.MT.options = {'a': [inf]}"),
    ],
)
def test_a_value_out_of_bounds_is_named(values: dict, named: str):
    with pytest.raises(SettingsError) as raised:
        validated(values, origin="the file")
    assert named in str(raised.value)
    assert "Correct it" in str(raised.value)


def test_the_base_model_is_not_asked_to_annotate_without_the_prompt():
    for sampling in ({"uses_prompt": False}, {"round": 2, "annotator": "base"}):
        values = {"sampling": {**sampling, "uses_prompt": False}}
        with pytest.raises(SettingsError, match="without the prompt it writes none") as raised:
            validated(values, origin="the file")
        assert "sampling.uses_prompt = False" in str(raised.value)
        assert "sampling.annotator" in str(raised.value)
    for annotator in ("finetuned", "/models/toolformer"):
        sampling = {"round": 2, "annotator": annotator, "uses_prompt": False}
        assert not validated({"sampling": sampling}, origin="x").sampling.uses_prompt


def test_the_first_round_has_no_finetuned_annotator():
    for sampling in ({}, {"round": 1}):
        values = {"sampling": {**sampling, "annotator": "finetuned"}}
        with pytest.raises(SettingsError, match=r"sampling.annotator = 'finetuned'.*round 1 has"):
            validated(values, origin="the file")
    # Whatever the order in which they are written.
    changed = {"sampling": {"annotator": "finetuned", "round": 2}}
    assert validated(changed, origin="x").sampling.annotator == "finetuned"


def test_training_takes_the_newest_round_unless_rounds_are_named():
    def rounds(values: dict) -> tuple[int, ...]:
        return validated(values, origin="x").training_rounds

    assert rounds({}) == (1,)
    assert rounds({"sampling": {"round": 3}}) == (3,)
    assert rounds({"sampling": {"round": 3}, "training": {"rounds": [1, 2, 1]}}) == (2, 1)


def test_all_mistakes_are_named_at_once():
    with pytest.raises(SettingsError) as raised:
        validated({"sampling": {"sed": 1, "temperature": -1}}, origin="x")
    assert "'sampling.sed'" in str(raised.value)
    assert "sampling.temperature = -1" in str(raised.value)


def test_settings_are_frozen():
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.preset = "paper"  # pyright: ignore


def test_every_section_refuses_unknown_names():
    def check(section: type[BaseModel]) -> None:
        # Further names are tools from outside; whether there is one is checked.
        expected = "allow" if section is ToolsSettings else "forbid"
        assert section.model_config.get("extra") == expected, section
        for field in section.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                check(field.annotation)

    check(Settings)


@given(sections, sections)
def test_changes_win_and_the_rest_stays(base: dict, changes: dict):
    result = merged(base, changes)
    assert set(result) == set(base) | set(changes)
    for name in result:
        if name not in changes:
            assert result[name] == base[name]
        elif not isinstance(changes[name], dict):
            assert result[name] == changes[name]
    assert merged(result, changes) == result
    assert merged(base, {}) == base


def test_the_home_is_the_environments_or_data_in_the_repository(monkeypatch, tmp_path):
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "x"))
    assert home_folder() == tmp_path / "x"
    monkeypatch.setenv("TOOLFORMER_HOME", "~/y")
    assert home_folder() == Path.home() / "y"
    monkeypatch.delenv("TOOLFORMER_HOME")
    assert home_folder() == Path(__file__).parents[2] / "data"


def test_how_calls_are_scored_has_bounds():
    assert validated({"scoring": {"placement": "inline"}}, origin="x").scoring.window_tokens == 5
    for changes in ({"window_tokens": 0}, {"window_weights": "cubic"}, {"baseline": "none"}):
        with pytest.raises(SettingsError, match=f"scoring.{next(iter(changes))}"):
            validated({"scoring": changes}, origin="x")


@pytest.mark.parametrize("value", [-0.1, "low"])
def test_a_contrast_threshold_is_a_number_from_0_on(value: object):
    with pytest.raises(SettingsError, match=r"tools\.QA\.contrast_threshold"):
        validated({"tools": {"QA": {"contrast_threshold": value}}}, origin="x")
    assert validated({}, origin="x").tools.of("QA").contrast_threshold is None
