from huggingface_hub import ModelCard

from toolformer.training.model_card import model_card
from toolformer.training.variants import CALLS


def record(variant: str = CALLS) -> dict:
    return {
        "base": "tiny",
        "rows": 1200,
        "facts": {"variant": variant, "calls": {"Calculator": 1500, "MT": 2}},
        "precision": "float32",
        "parameters": {"learning_rate": 1e-4, "steps": 7},
        "result": {
            "steps": 7,
            "tokens": 12345,
            "base_perplexity": 35.9,
            "best_perplexity": 34.25,
            "best_step": 6,
        },
    }


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
