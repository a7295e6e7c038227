import pytest
from huggingface_hub import ModelCard

from tests.toolformer.training.tiny import record
from toolformer.settings.training_sections import CALLS, PLAIN, SHUFFLED
from toolformer.training.model_card import model_card


def test_a_hub_reads_base_and_licence_from_the_card():
    text = model_card(
        "toolformer",
        record(),
        base_license="apache-2.0",
        base_on_hub="ada/tiny",
        datasets=["ada/texts"],
    )
    # Refused where they are not what a card may have.
    assert ModelCard(text).data.to_dict() == {
        "base_model": "ada/tiny",
        "datasets": ["ada/texts"],
        "library_name": "transformers",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["toolformer", "tool-use"],
    }


@pytest.mark.parametrize(
    ("stated", "word"), [(None, "unknown"), ("Apache License 2.0", "other"), ("mit", "mit")]
)
def test_what_is_no_word_of_a_hub_is_left_out_of_the_head_of_the_card(stated, word):
    card = ModelCard(model_card("toolformer", record(), base_license=stated))
    assert card.data.to_dict()["license"] == word
    assert card.data.base_model is None
    assert stated is None or f"- base model `tiny`: {stated}" in card.text


def test_measurements_take_the_place_of_the_advice_to_measure():
    rows = [
        {"benchmark": "dateset", "model": "base", "score": 0.5},
        {"benchmark": "dateset", "model": "finetuned", "score": None},
    ]
    text = model_card("toolformer", record(), evaluation=rows)
    assert "toolformer evaluate" not in text
    assert "| dateset | base | 0.500 |\n| dateset | finetuned | None |" in text


@pytest.mark.parametrize("variant", [CALLS, SHUFFLED])
def test_the_card_says_who_wrote_the_calls(variant):
    text = model_card("toolformer", record(variant))
    said = "rules of the tools wrote 1,400, the model `tiny` wrote 102."
    assert f"Of 1,502 kept calls, {said}" in text
    assert said not in model_card("plain", record(PLAIN))


def test_a_model_without_calls_is_decoded_as_any_other():
    card = ModelCard(model_card("plain", record("plain")))
    assert card.data.tags == ["toolformer"]
    assert "complete(" not in card.text
