from huggingface_hub import ModelCard

from tests.toolformer.training.tiny import record
from toolformer.training.model_card import model_card


def test_a_hub_reads_base_and_licence_from_the_card():
    card = ModelCard(model_card("toolformer", record(), base_license="apache-2.0"))
    assert (card.data.base_model, card.data.license) == ("tiny", "apache-2.0")
    assert "toolformer" in (card.data.tags or [])


def test_measurements_take_the_place_of_the_advice_to_measure():
    rows = [
        {"benchmark": "dateset", "model": "base", "score": 0.5},
        {"benchmark": "dateset", "model": "finetuned", "score": None},
    ]
    text = model_card("toolformer", record(), evaluation=rows)
    assert "toolformer evaluate" not in text
    assert "| dateset | base | 0.500 |\n| dateset | finetuned | None |" in text
