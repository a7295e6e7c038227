"""Losses of texts with the real embedded model, where the settings say bfloat16."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from assets.evaluation.measuring import Measuring
from assets.evaluation.text_losses import Losses, mean_loss
from toolformer.evaluation.modes import DISABLED
from toolformer.forward.windows import Window
from toolformer.home.home import Home
from toolformer.home.settings.sections import validated
from toolformer.home.wiring.evaluated_models import EvaluatedModel
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.home.wiring.toolbox import Toolbox
from warehouse.warehouse import Warehouse

TEXT = (
    "The harbour of the small town was built in 1874, when the railway came. Six crates of 24 "
    "bottles make 144 bottles in all, of which twelve were broken on the way. On Monday the "
    "council met again and spoke about the price of bread, which had risen by four per cent.\n"
    "Nobody had expected that the old bridge would stand for so long."
)


@pytest.mark.model
def test_perplexity_is_that_of_a_literal_float32_loop_whatever_the_precision(
    embedded_model_path: Path, tmp_path: Path
):
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    settings = validated(
        {
            "language_model": {"device": "cpu", "precision": "bfloat16"},
            "corpus": {"window_tokens": 24},
            "evaluation": {"texts": {"own": str(file)}},
        },
        origin="test",
    )
    home = Home(tmp_path / "home")
    store = Warehouse(home.warehouse, home.database)
    store.prepare()
    holder = ModelHolder()
    run: Any = SimpleNamespace(
        settings=settings,
        home=home,
        warehouse=store,
        force=False,
        holder=holder,
        hold_device=lambda: holder.hold_device(settings, home),
        progress=lambda *_: lambda done, total: None,
    )
    measuring = Measuring(run, Toolbox({}, {}, {}), [])
    try:
        measuring.measure("own", EvaluatedModel(embedded_model_path, name="base"), [DISABLED])
    finally:
        holder.release()

    (summary,) = store.view("evaluation_summary").iter_rows(named=True)
    windows = store.query("select prompt from evaluation_results order by item_id")["prompt"]
    assert "".join(windows) == TEXT
    model = AutoModelForCausalLM.from_pretrained(embedded_model_path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path)
    start = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    losses: list[float] = []
    for window in windows:
        ids = torch.tensor([start, *tokenizer.encode(window, add_special_tokens=False)])
        with torch.inference_mode():
            logits = model(input_ids=ids[None]).logits[0, :-1]
        losses += torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none").tolist()
    assert summary["score"] == pytest.approx(math.exp(math.fsum(losses) / len(losses)), rel=1e-3)
    assert summary["precision"] == "float32"


def test_the_windows_are_a_random_choice_whatever_their_order():
    run: Any = SimpleNamespace(
        settings=validated({"evaluation": {"perplexity_windows": 4}}, origin="test")
    )
    others: Any = {"address": ("", "", ""), "model": None, "progress": None, "held_out": ()}
    losses = Losses(run=run, name="own", **others)
    windows = [Window(f"d{number:02}", 0, 0, "", (), ()) for number in range(40)]
    chosen = losses._chosen(windows)
    assert len(chosen) == 4
    assert chosen == losses._chosen(windows[::-1])
    assert chosen not in (windows[:4], windows[-4:])


@pytest.mark.parametrize(
    ("losses", "score", "reason"),
    [
        ([1.0, 1.0, 1.0, 5.0], 2.0, None),
        ([], None, "empty"),
        ([1.0, math.nan], None, "non_finite_loss"),
        ([1.0, -math.inf], None, "non_finite_loss"),
    ],
)
def test_the_loss_of_a_window_is_the_mean_over_its_tokens_or_a_reason(losses, score, reason):
    expected = {"score": score, "score_weight": float(len(losses)), "reason": reason}
    assert mean_loss(losses) == expected
