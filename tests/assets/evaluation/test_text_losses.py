"""Losses of texts with the real embedded model, where the settings say bfloat16."""

import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from assets.evaluation.evaluator import Evaluator
from assets.evaluation.tables import paper_tables
from assets.evaluation.text_losses import Losses, mean_loss
from tests.fakes import TOKENIZERS, save_tiny_model
from tests.homes import write_lines
from tests.warehouse.rows import put
from toolformer.errors import OutOfMemoryError
from toolformer.evaluation.modes import DISABLED
from toolformer.forward.windows import Window
from toolformer.home.home import Home
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.home.wiring.models import EvaluatedModel
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.sections import validated
from warehouse.warehouse import Warehouse

TEXT = (
    "The harbour of the small town [see below] was built in 1874, when the railway came. Six "
    "crates of 24 bottles make 144 bottles in all, of which twelve were broken on the way. On "
    "Monday the council met again and spoke about the price of bread, which had risen by four per "
    "cent.\nNobody had expected that the old bridge would stand for so long."
)


def measured(
    base: Path,
    others: dict[str, Path],
    folder: Path,
    *,
    benchmarks: Sequence[str] = ("own",),
    loads: list[int] | None = None,
    **language_model: Any,
) -> Warehouse:
    """The text measured with a base model, and with others; then how many were loaded by then."""
    file = folder / "text.txt"
    file.write_text(TEXT)
    asked = write_lines(folder / "asked.jsonl", [{"id": "1", "question": "Who?", "answers": "I"}])
    given = {"path": str(base), "device": "cpu", "precision": "bfloat16", **language_model}
    settings = validated(
        {
            "language_model": given,
            "corpus": {"window_tokens": 24},
            "evaluation": {
                "texts": {"own": str(file), "again": str(file)},
                "questions": {"asked": {"path": str(asked), "prompt": "{question}"}},
            },
        },
        origin="test",
    )
    home = Home(folder / "home")
    store = Warehouse(home.warehouse, home.database)
    store.prepare()
    holder = ModelHolder()
    run: Any = SimpleNamespace(
        settings=settings,
        home=home,
        warehouse=store,
        force=False,
        holder=holder,
        hold_device=lambda: holder.hold_device(settings.language_model.device, home),
        progress=lambda *_: lambda done, total: None,
    )
    measuring = Evaluator(run, Toolbox({}, {}, {}), [])
    try:
        for name, directory in others.items():
            model = EvaluatedModel(directory, name=name)
            for benchmark in benchmarks:
                measuring.measure(benchmark, model, [DISABLED])
                if loads is not None:
                    loads.append(holder.loads)
                # One model alone answers questions.
                assert benchmark != "asked" or holder._second is None
    finally:
        holder.release()
    return store


def changed_copy(model: Path, folder: Path) -> Path:
    """The model with larger weights in its last norm."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] *= 1.1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.model
def test_perplexity_and_divergence_are_those_of_a_literal_float32_loop_whatever_the_precision(
    embedded_model_path: Path, tmp_path
):
    base, other = embedded_model_path, changed_copy(embedded_model_path, tmp_path / "other")
    same = Path(shutil.copytree(base, tmp_path / "same", copy_function=os.symlink))
    store = measured(base, {"base": base, "same": same, "other": other}, tmp_path)

    found = {row["model"]: row for row in store.view("evaluation_summary").iter_rows(named=True)}
    windows = store.query(
        "select prompt from evaluation_results where model = 'base' order by item_id"
    )["prompt"]
    assert "".join(windows) == TEXT
    models = [
        AutoModelForCausalLM.from_pretrained(each, dtype=torch.float32) for each in (base, other)
    ]
    tokenizer = AutoTokenizer.from_pretrained(base)
    start = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    (bracket,) = tokenizer.encode(" [")
    assert bracket in tokenizer.encode(TEXT)
    losses: list[list[float]] = [[], []]
    divergences: list[float] = []
    for window in windows:
        ids = torch.tensor([start, *tokenizer.encode(window, add_special_tokens=False)])
        with torch.inference_mode():
            p, q = (model(ids[None]).logits[0, :-1].double().log_softmax(1) for model in models)
        for each, of_model in zip(losses, (p, q), strict=True):
            # With calls disabled nothing opens one.
            rest = (1 - of_model[:, bracket].exp()).log()
            each += [
                (left - row[token]).item()
                for row, left, token in zip(of_model, rest, ids[1:], strict=True)
                if token != bracket
            ]
        gaps = (p.exp() * (p - q)).sum(1)
        divergences += gaps[ids[1:] != bracket].tolist()
    for name, of_model in zip(("base", "other"), losses, strict=True):
        perplexity = math.exp(math.fsum(of_model) / len(of_model))
        assert found[name]["score"] == pytest.approx(perplexity, rel=2e-5)
        assert found[name]["precision"] == "float32"
    mean = math.fsum(divergences) / len(divergences)
    assert mean > 1e-3
    assert found["other"]["divergence_from_base"] == pytest.approx(mean, abs=1e-5)
    assert abs(found["same"]["divergence_from_base"]) < 1e-6
    assert found["same"]["score"] == found["base"]["score"]
    assert found["base"]["divergence_from_base"] is None


def divergences_of(store: Warehouse) -> list[float | None]:
    return store.query("select divergence_from_base from evaluation_results").to_series().to_list()


def test_a_model_of_another_vocabulary_has_no_divergence_and_says_so(tiny: Path, tmp_path, caplog):
    tokenizer = TOKENIZERS["pieces with Metaspace"]()
    other = save_tiny_model(tmp_path / "other", tokenizer=tokenizer, context_length=2048)
    assert set(divergences_of(measured(tiny, {"other": other}, tmp_path))) == {None}
    assert (
        "other: the divergence from the base model is not computed: the base model has another"
        in caplog.text
    )


def test_nor_has_one_beside_which_the_base_model_has_no_place(
    tiny: Path, tmp_path, caplog, monkeypatch
):
    def refuse(*_: Any, **__: Any) -> None:
        raise OutOfMemoryError("7.0 GiB")

    monkeypatch.setattr(ModelHolder, "load_second_model", refuse)
    other = changed_copy(tiny, tmp_path / "other")
    assert set(divergences_of(measured(tiny, {"other": other}, tmp_path))) == {None}
    assert "both models do not fit into memory (7.0 GiB)" in caplog.text


def test_nor_has_one_whose_base_model_is_served_and_no_server_is_asked(
    tiny: Path, tmp_path, caplog
):
    server = {"url": "http://127.0.0.1:9", "model": "large"}
    store = measured(tiny, {"other": tiny}, tmp_path, server=server)
    assert set(divergences_of(store)) == {None}
    assert "the base model runs on a server" in caplog.text


def test_what_is_printed_has_the_divergence_beside_the_perplexity(tiny: Path, tmp_path):
    store = measured(tiny, {"own": changed_copy(tiny, tmp_path / "other")}, tmp_path)
    (mean,) = store.view("evaluation_summary")["divergence_from_base"]
    interval = {"benchmark": "own", "model": "own", "mode": "disabled", "metric": "perplexity"}
    put(store, "score_intervals", interval, name="own")
    table = store.view("evaluation_table")
    assert table["divergence_from_base"].to_list() == [mean]
    (cell,) = paper_tables(table)["other"]["own"]
    assert cell.endswith(f"items, {mean:.4f} nats per token from base")


def test_the_base_model_is_loaded_once_beside_another_for_all_texts(tiny: Path, tmp_path):
    other, loads = changed_copy(tiny, tmp_path / "other"), list[int]()
    benchmarks = ("own", "again", "asked")
    given = {"benchmarks": benchmarks, "loads": loads, "precision": "float32"}
    store = measured(tiny, {"other": other}, tmp_path, **given)
    assert loads == [2, 2, 2]
    assert store.view("evaluation_summary").height == len(benchmarks)


def test_another_base_model_puts_the_divergence_out_of_date(tiny: Path, tmp_path):
    for folder in (base := tmp_path / "base", other := tmp_path / "other"):
        shutil.copytree(tiny, folder)
    before = divergences_of(measured(base, {"other": other}, tmp_path))
    shutil.rmtree(base)
    changed_copy(tiny, base)
    after = divergences_of(measured(base, {"other": other}, tmp_path))
    assert before == [0.0] * len(after)
    assert all(value and value > 0 for value in after)


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
