import pytest
from huggingface_hub import ModelCard

from toolformer.decoding.calibration import CalibratedProbability, CurvePoint
from toolformer.training.model_card import model_card
from toolformer.training.variants import CALLS, PLAIN, VARIANTS


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


def test_the_card_says_what_the_model_was_trained_on_and_what_came_out():
    text = model_card("toolformer", record(), sources=[("a.jsonl", "CC BY 4.0")])
    for stated in (
        "1,200 texts with 1,502 calls (1,500 of Calculator, 2 of MT); 12,345 tokens in 7 steps",
        "| learning_rate | 0.0001 |",
        "35.90 before training, 34.25 at step 6",
        "toolformer evaluate --variant calls",
        "- base model `tiny`: not stated",
        "- texts of `a.jsonl`: CC BY 4.0",
    ):
        assert stated in text


def test_measurements_take_the_place_of_the_advice_to_measure():
    rows = [
        {"benchmark": "dateset", "model": "base", "score": 0.5},
        {"benchmark": "dateset", "model": "finetuned", "score": None},
    ]
    text = model_card("toolformer", record(), evaluation=rows)
    assert "toolformer evaluate" not in text
    assert "| dateset | base | 0.500 |\n| dateset | finetuned | None |" in text


def test_the_card_names_the_calibrated_probability_or_why_there_is_none():
    curve = (CurvePoint(0.125, 0.5, -0.1, 9, 1, 7),)
    for chosen, stated in (
        (
            CalibratedProbability(0.125, None, 10, 10, 12, curve),
            "Minimum call probability: 0.125, at",
        ),
        (CalibratedProbability(None, "too few texts", 10, 1, 12), "was calibrated: too few texts."),
    ):
        text = model_card("toolformer", record(), min_call_probability=chosen)
        assert stated in text
        assert "with k = 10" in text
    assert "Minimum probability" not in model_card("toolformer", record())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_control_is_called_one(variant: str):
    text = model_card("x", record(variant))
    assert ("It is a control." in text) == (variant != CALLS)
    assert ("## Use" in text) == (variant != PLAIN)
