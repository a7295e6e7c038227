import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaForCausalLM

from tests.toolformer.training.tiny import (
    BOS,
    DEVELOPMENT,
    IDS,
    PLAIN,
    ROWS,
    SETTINGS,
    loss_weights,
    row,
    weights,
)
from toolformer.errors import CheckpointError, OutOfMemoryError, TrainingError
from toolformer.forward.language_model import LanguageModel
from toolformer.training import trainer
from toolformer.training.training_rows import CALL, TOOL, DevelopmentRows

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow


def token_losses(folder, rows) -> list[float]:
    """-log p of every token, one row at a time, from the whole model."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    losses = []
    for ids in rows:
        with torch.no_grad():
            logits = model(torch.tensor([[BOS, *ids]])).logits[0].double()
        log_p = torch.log_softmax(logits, -1)
        losses += [-log_p[place, token].item() for place, token in enumerate(ids)]
    return losses


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def test_accumulation_gives_the_weights_of_one_big_batch(run, tmp_path):
    # No clipping, which would hide a wrong scale of the gradient.
    run("parts", micro_batch_tokens=1, clip_norm=1e9, steps=3)
    run("whole", micro_batch_tokens=1000, clip_norm=1e9, steps=3)
    parts, whole = weights(tmp_path / "parts"), weights(tmp_path / "whole")
    for name in parts:
        torch.testing.assert_close(parts[name], whole[name], atol=1e-4, rtol=1e-4)


def test_one_step_moves_the_weights_as_adam_on_the_mean_loss_does(run, base, tmp_path):
    run(steps=1, clip_norm=0.5)
    model = AutoModelForCausalLM.from_pretrained(base)
    total = sum(map(len, IDS))
    for ids in IDS:
        logits = model(torch.tensor([[BOS, *ids]])).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(ids), reduction="sum")
        (loss / total).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0).step()
    tuned = weights(tmp_path / "tuned")
    for name, parameter in model.named_parameters():
        # The first step of Adam is ±1e-2 nearly everywhere; where the gradient is as small as
        # Adam's epsilon, rounding shows.
        torch.testing.assert_close(tuned[name], parameter.detach(), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "by_kind", [(1.0, 1.0, 1.0, 1.0), (1.0, 1.0, 5.0, 0.0), (0.5, 3.0, 2.0, 0.25)]
)
def test_tokens_count_in_the_loss_by_their_kind(run, base, by_kind):
    of_kinds = loss_weights(**dict(zip(("text", "call", "tool", "result"), by_kind, strict=True)))
    _, reports = run(loss_weights=of_kinds, micro_batch_tokens=8)
    counted = [by_kind[kind] for each in ROWS for kind in each.kinds]
    losses = token_losses(base, IDS)
    expected = sum(map(math.prod, zip(counted, losses, strict=True))) / sum(counted)
    assert reports[0].loss == pytest.approx(expected, rel=1e-5)
    assert reports[0].tokens == sum(map(len, IDS))


def test_the_learning_rate_rises_over_its_share_of_the_steps_and_stays(run):
    _, reports = run(steps=20, warmup_share=0.2, learning_rate=8e-4)
    rates = [report.learning_rate for report in reports]
    assert rates[:5] == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 8e-4])
    assert set(rates[3:]) == {8e-4}


def test_the_best_checkpoint_by_texts_with_and_without_calls_is_kept_and_ends_the_training(
    run, base, tmp_path
):
    # Training on words that the development texts lack makes these less likely in time.
    of_kinds = loss_weights(call=2, tool=3, result=0.5)
    result, reports = run(
        rows=[row([5], [6], [7], [30, 31, 32])],
        batch_size=1,
        steps=30,
        evaluations=10,
        loss_weights=of_kinds,
    )
    measured = {report.step: report for report in reports if report.call_loss is not None}
    lowest = min(report.development_perplexity for report in measured.values())
    fits = [r for r in measured.values() if r.development_perplexity <= 1.05 * lowest]
    best = min(fits, key=lambda report: (report.call_loss, report.step)).step
    # One to whom the calls are likelier has lost more language.
    assert min(measured.values(), key=lambda report: report.call_loss).step != best
    assert result.best == measured[best]
    # Three measurements in a row that are no better.
    assert list(measured) == list(range(3, best + 10, 3))
    assert reports[-1].step == best + 9 < 30
    by_kind = (1.0, 2.0, 3.0, 0.5)
    kinds = [kind for each in DEVELOPMENT.with_calls for kind in each.kinds]
    counted = [by_kind[kind] for kind in kinds]
    losses_of_base = result.base.calls, result.base.perplexity, result.base.mean
    kept = result.best.call_loss, result.best.development_perplexity, result.best.development_loss
    for folder, told in ((base, losses_of_base), (tmp_path / "tuned", kept)):
        losses = token_losses(folder, [each.ids for each in DEVELOPMENT.with_calls])
        with_calls = sum(map(math.prod, zip(counted, losses, strict=True))) / sum(counted)
        of_calls = [loss for kind, loss in zip(kinds, losses, strict=True) if kind in {CALL, TOOL}]
        without_calls = mean(token_losses(folder, PLAIN))
        expected = mean(of_calls), math.exp(without_calls), (with_calls + without_calls) / 2
        assert told == pytest.approx(expected, rel=1e-5)


def test_of_equal_checkpoints_the_earliest_is_kept(run):
    # A learning rate that float32 weights do not feel.
    result, reports = run(learning_rate=1e-30, steps=4, evaluations=2)
    assert len({r.development_loss for r in reports if r.development_loss}) == 1
    assert result.best.step == 2


def test_a_training_that_ended_early_and_was_killed_then_does_no_step_more(run, tmp_path):
    settings = {"learning_rate": 1e-30, "steps": 9, "evaluations": 9, "save_every": 100}
    undisturbed, all_reports = run("undisturbed", **settings)
    assert undisturbed.step == 4
    with pytest.raises(KeyboardInterrupt):
        run("killed", stop_at=4, **settings)
    resumed, reports = run("killed", **settings)
    assert reports == all_reports
    assert resumed.best.step == 1


@pytest.mark.parametrize("stop_at", [3, 7, 8, 11])
def test_a_killed_run_goes_on_to_the_numbers_of_an_undisturbed_one(run, tmp_path, stop_at):
    settings = {"steps": 11, "save_every": 4, "evaluations": 6, "batch_size": 3}
    undisturbed, all_reports = run("undisturbed", **settings)
    with pytest.raises(KeyboardInterrupt):
        run("killed", stop_at=stop_at, **settings)
    assert not (tmp_path / "killed").exists()
    files = [path.name for path in (tmp_path / "killed-state").rglob("*") if path.is_file()]
    # What was saved at step 4 is there.
    assert ("progress.json" in files) == (stop_at > 4)
    assert {name.rpartition(".")[2] for name in files} <= {"safetensors", "json", "fingerprint"}
    resumed, reports = run("killed", **settings)
    assert reports == all_reports
    assert replace(resumed, seconds=0.0) == replace(undisturbed, seconds=0.0)
    first, second = weights(tmp_path / "undisturbed"), weights(tmp_path / "killed")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_resumed_run_does_only_the_steps_that_are_left_and_all_of_them_for_other_rows(
    run, monkeypatch
):
    with pytest.raises(KeyboardInterrupt):
        run(stop_at=5, steps=6, save_every=4)
    fed = []
    add_gradient = trainer.add_gradient
    monkeypatch.setattr(
        trainer,
        "add_gradient",
        lambda model, rows, **rest: fed.append(len(rows)) or add_gradient(model, rows, **rest),
    )
    with pytest.raises(KeyboardInterrupt):
        run(stop_at=6, steps=6, save_every=4)
    assert sum(fed) == 2 * SETTINGS.batch_size
    _, reports = run(rows=[row([25], [40, 41, 44])], steps=6, save_every=4)
    assert [report.step for report in reports] == [1, 2, 3, 4, 5, 6]
    assert reports[0].tokens == SETTINGS.batch_size * 4


@pytest.mark.parametrize("file", ["*.safetensors", "progress.json"])
def test_a_damaged_state_is_named_with_the_remedy(run, tmp_path, file):
    with pytest.raises(KeyboardInterrupt):
        run(stop_at=5, steps=6, save_every=4)
    found = next((tmp_path / "tuned-state").glob(f"state-*/{file}"))
    found.write_bytes(found.read_bytes()[:300])
    with pytest.raises(CheckpointError, match=r"tuned-state.*Remove"):
        run(steps=6, save_every=4)


def test_a_full_disk_is_named_and_the_state_before_it_is_gone_on_with(run, tmp_path, monkeypatch):
    settings = {"steps": 9, "save_every": 4}
    _, undisturbed = run("undisturbed", **settings)
    with pytest.raises(KeyboardInterrupt):
        run(stop_at=5, **settings)

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_disk)
        with pytest.raises(TrainingError, match=r"state-00000008' cannot be written.*No space"):
            run(**settings)
    # Half a state would fill the disk until the next run.
    assert not list(tmp_path.rglob(".*.tmp"))
    assert run(**settings)[1] == undisturbed


def test_the_output_is_a_model_with_its_record_in_place_of_an_earlier_one(run, tmp_path):
    run(steps=1)
    random_numbers = torch.get_rng_state()
    result, reports = run(steps=2)
    assert torch.equal(torch.get_rng_state(), random_numbers)
    model = LanguageModel.load(tmp_path / "tuned", precision="float32", device="cpu")
    assert model.tokenizer.encode("$") == [5]
    record = json.loads((tmp_path / "tuned" / "toolformer.json").read_text())
    assert record["fingerprint"] == "f1"
    assert record["parameters"]["steps"] == record["result"]["steps"] == 2
    assert (record["rows"], record["facts"]) == (4, {"calls": 5})
    assert record["result"]["best_step"] == result.best.step == 2
    assert [row["loss"] for row in record["history"]] == [report.loss for report in reports]
    assert list((tmp_path / "tuned-state").iterdir()) == []
    assert [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_a_base_that_is_replaced_meanwhile_gives_no_model_and_no_state(run, base, tmp_path):
    own = shutil.copytree(base, tmp_path / "own")
    run(steps=1)
    kept = weights(tmp_path / "tuned")

    def replace_base(_: object) -> None:
        another = {name: tensor.flip(0) for name, tensor in weights(base).items()}
        save_file(another, own / "model.safetensors", {"format": "pt"})

    with pytest.raises(TrainingError, match="was replaced during training"):
        run(steps=2, of=own, told=replace_base)
    assert weights(tmp_path / "tuned").keys() == kept.keys()
    assert all(torch.equal(kept[name], now) for name, now in weights(tmp_path / "tuned").items())
    assert list((tmp_path / "tuned-state").iterdir()) == []


def test_the_settings_of_a_chat_model_do_not_reach_generate(run, base, tmp_path):
    chat = tmp_path / "chat"
    shutil.copytree(base, chat)
    asked = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "max_length": 30}
    asked |= {"repetition_penalty": 1.1, "num_beams": 4, "min_new_tokens": 3}
    asked |= {"eos_token_id": [2, 3], "pad_token_id": 2}
    (chat / "generation_config.json").write_text(json.dumps(asked))
    run(steps=1, of=chat)
    tuned = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned").generation_config
    told = GenerationConfig(eos_token_id=[2, 3], pad_token_id=2)
    assert tuned.to_diff_dict() == told.to_diff_dict()


def test_bfloat16_computation_trains_float32_weights(run, base, tmp_path):
    _, reports = run(steps=2, precision="bfloat16")
    exact = mean(token_losses(base, IDS))
    assert reports[0].loss == pytest.approx(exact, rel=2e-2)
    assert reports[0].loss != pytest.approx(exact, rel=1e-7)
    assert {tensor.dtype for tensor in weights(tmp_path / "tuned").values()} == {torch.float32}


def test_development_rows_that_lost_their_calls_are_measured_where_texts_count_nothing(run):
    without = DEVELOPMENT.without_calls
    result, _ = run(
        development=DevelopmentRows(without, without), loss_weights=loss_weights(text=0)
    )
    assert (result.base.with_calls, result.base.calls) == (result.base.without_calls, None)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rows": []}, "no text"),
        ({"development": DevelopmentRows([], [])}, "development_share"),
        ({"rows": [row(*([5] for _ in range(80)))]}, "max_tokens"),
        ({"rows": [*ROWS, row([5], [6])], "loss_weights": loss_weights(text=0)}, "1 of 5"),
        ({"name": "file/tuned"}, "written"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_first_step(run, tmp_path, changes, named):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=named):
        run(**changes)


def test_a_loss_that_is_not_finite_names_the_step_and_the_remedy(run):
    with pytest.raises(TrainingError, match=r"at step \d+ is nan.*smaller training.learning_rate"):
        run(steps=20, learning_rate=1e30)


def test_memory_that_runs_out_names_the_remedies_and_keeps_the_steps(run, monkeypatch):
    _, undisturbed = run("undisturbed", steps=4, save_every=1)
    gradients_left = 3
    add_gradient = trainer.add_gradient

    def run_out(*arguments, **named):
        nonlocal gradients_left
        gradients_left -= 1
        if not gradients_left:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return add_gradient(*arguments, **named)

    with monkeypatch.context() as patches:
        patches.setattr(trainer, "add_gradient", run_out)
        with pytest.raises(OutOfMemoryError, match=r"Lower training\.micro_batch_tokens"):
            run(steps=4, save_every=1)
    _, resumed = run(steps=4, save_every=1)
    assert gradients_left == 0
    assert resumed == undisturbed


@pytest.mark.parametrize("where", ["to", "step"])
def test_a_lack_of_memory_for_weights_or_moments_names_the_remedies_of_training(
    run, monkeypatch, where
):
    def run_out(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    owner = {"to": LlamaForCausalLM, "step": torch.optim.AdamW}[where]
    monkeypatch.setattr(owner, where, run_out)
    with pytest.raises(OutOfMemoryError, match=r"Lower training\.micro_batch_tokens"):
        run(steps=2)


def test_files_that_are_not_of_a_run_stay(run, tmp_path):
    for folder in ("tuned", "tuned-state"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "thesis.txt").write_text("years of work")
    with pytest.raises(TrainingError, match="is not overwritten"):
        run()
    assert (tmp_path / "tuned" / "thesis.txt").exists()
    (tmp_path / "tuned" / "thesis.txt").unlink()
    run()
    assert (tmp_path / "tuned-state" / "thesis.txt").exists()
