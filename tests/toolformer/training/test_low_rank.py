"""Adapters beside frozen weights, and the plain model that comes out."""

import json
import re
from functools import partial
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file

from tests.toolformer.training.tiny import PLAIN, weights
from toolformer.errors import TrainingError
from toolformer.forward.language_model import LanguageModel
from toolformer.training.low_rank import add_adapters, merge_adapters, save_adapters

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("peft") is None, reason="needs the package peft"),
]

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture
def run(run):
    return partial(run, steps=6, save_every=4, lora_rank=4)


def test_a_plain_model_comes_out_with_the_perplexity_that_was_measured_with_adapters(
    run, base, tmp_path
):
    result, reports = run()
    assert reports[-1].loss < reports[0].loss - 0.3
    before, after = weights(base), weights(tmp_path / "tuned")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.split(".")[-2] in LINEAR}
    for name in changed:
        # A product of two matrices of four columns and rows.
        assert torch.linalg.matrix_rank(after[name] - before[name], atol=1e-5) <= 4
    assert not list((tmp_path / "tuned").glob("*adapter*"))
    record = json.loads((tmp_path / "tuned" / "toolformer.json").read_text())
    assert record["parameters"]["lora_rank"] == 4
    assert record["result"]["best_perplexity"] == result.best.development_perplexity
    loaded = LanguageModel.load(tmp_path / "tuned", precision="float32", device="cpu")
    assert loaded.tokenizer.encode("$") == [5]
    losses = []
    for ids in PLAIN:
        with torch.no_grad():
            logits = loaded.model(torch.tensor([[0, *ids]])).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(ids), reduction="sum"))
    mean = sum(losses) / sum(map(len, PLAIN))
    assert result.best.development_perplexity == pytest.approx(float(torch.exp(mean)), rel=1e-5)


def test_adapters_of_other_layers_are_refused_and_named(base, tmp_path):
    model = LanguageModel.load(base, precision="float32", device="cpu").model
    add_adapters(model, rank=4)
    adapters = {name: each for name, each in model.named_parameters() if each.requires_grad}
    renamed = "model.layers.0.mlp.up_projection.lora_A.default.weight"
    named = renamed.replace("projection", "proj")
    (tmp_path / "output").mkdir()
    for others in (
        {renamed if name == named else name: each for name, each in adapters.items()},
        {name: each for name, each in adapters.items() if name != named},
        {**adapters, renamed: adapters[named].clone()},
    ):
        save_adapters(others, tmp_path)
        different = sorted(others.keys() ^ adapters.keys())
        told = re.escape(f"{', '.join(different)} ({len(different)} in all)")
        with pytest.raises(TrainingError, match=f"do not match the layers.*{told}"):
            merge_adapters(base, tmp_path, tmp_path / "output", rank=4)
    assert not list((tmp_path / "output").iterdir())


def test_a_killed_run_goes_on_to_the_numbers_of_an_undisturbed_one(run, tmp_path):
    _, undisturbed = run("undisturbed")
    with pytest.raises(KeyboardInterrupt):
        run(stop_at=5)
    (state,) = (tmp_path / "tuned-state").glob("state-*/*.safetensors")
    # The frozen weights are not saved again.
    saved = load_file(state)
    assert saved
    assert all("lora_" in name for name in saved)
    assert run()[1] == undisturbed
    first, second = weights(tmp_path / "undisturbed"), weights(tmp_path / "tuned")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_beside_bfloat16_weights_adapters_are_trained_in_float32(run, base, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(stop_at=5, precision="bfloat16")
    (state,) = (tmp_path / "tuned-state").glob("state-*/*.safetensors")
    assert {tensor.dtype for tensor in load_file(state).values()} == {torch.float32}
    run(precision="bfloat16", gradient_checkpointing=True)
    # Merged with the weights of the base as they lie on disk, not as they were rounded.
    before, after = weights(base), weights(tmp_path / "tuned")
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
