"""Settings: the paper's numbers, presets, and errors that name the mistake."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from toolformer.settings.errors import SettingsError
from toolformer.settings.presets import PRESETS
from toolformer.settings.sections import Settings, merged, validated
from toolformer.settings.settings_file import preset_values
from toolformer.settings.tool_sections import ToolsSettings
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


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"sampling": {"temperature": 0}}, "sampling.temperature = 0"),
        ({"tools": {"QA": {"sampling_threshold": 1.0}}}, "tools.QA.sampling_threshold = 1.0"),
        ({"language_model": {"precision": "float8"}}, "language_model.precision = 'float8'"),
        ({"evaluation": {"benchmarks": ["lambada"]}}, "there is no benchmark 'lambada'"),
        ({"evaluation": {"questions": {"nq": {"path": "x"}}}}, "'nq' cannot be used as a name"),
        ({"evaluation": {"texts": {"own-chat": "x"}}}, "is taken, ends with -chat"),
        (
            {"corpus": {"sources": [{"path": "a"}, {"path": "b", "tools": ["Calender"]}]}},
            "corpus.sources.1.tools = ('Calender',) is not valid: there is no tool 'Calender'",
        ),
        ({"corpus": {"sources": "a"}}, "sources = 'a' is not valid: expected a list, such as ["),
        ({"corpus": {"sources": ["a"]}}, "sources.0 = 'a' is not valid: expected a section, suc"),
        ({"tools": {"MT": {"options": "a"}}}, "options = 'a' is not valid: expected a section, s"),
        ({"sampling": {"round": 0}}, "sampling.round = 0"),
        *[({section: {"seed": 10**400}}, f"{section}.seed = 10") for section in _SEEDED],
        ({"sampling": {"temperature": float("inf")}}, "sampling.temperature = inf"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate = nan"),
        ({"training": {"learning_rate": 0}}, "a number above 0, or auto"),
        (
            {"training": {"processes": 3, "batch_size": 2}},
            "processes is 3; expected at most batch_size",
        ),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate = 'fast'"),
        ({"training": {"loss_weights": {"call": float("inf")}}}, "training.loss_weights.call = in"),
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
        with pytest.raises(
            SettingsError, match=r"sampling.annotator = 'finetuned'.*before round 1 there is"
        ):
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


@pytest.mark.parametrize(
    ("server", "named"),
    [
        ({"url": "http://localhost:8000"}, "server.model"),
        ({"url": "localhost:8000", "model": "m"}, "server.url"),
        ({"url": "http://me:secret@localhost", "model": "m"}, "server.url"),
        ({"url": ["http://localhost", "localhost:1"], "model": "m"}, "server.url"),
        ({"url": 7, "model": "m"}, "server.url"),
        ({"key_variable": "sk-secret"}, "server.key_variable"),
        ({"key": "sk-secret"}, "server.key"),
    ],
)
def test_a_server_has_its_model_and_a_key_by_the_name_of_a_variable(server: dict, named: str):
    with pytest.raises(SettingsError, match=named.replace(".", r"\.")) as refused:
        validated(
            merged(preset_values("laptop"), {"language_model": {"server": server}}), origin=""
        )
    assert "sk-secret" not in str(refused.value)


def test_another_annotator_than_the_base_model_is_no_matter_of_the_server():
    server = {"url": "http://localhost:8000", "model": "m"}
    values = merged(preset_values("laptop"), {"language_model": {"server": server}})
    assert validated(values, origin="").is_annotated_by_server
    other = merged(values, {"sampling": {"annotator": "/models/mine"}})
    assert not validated(other, origin="").is_annotated_by_server
