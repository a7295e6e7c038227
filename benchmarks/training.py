"""Compares our finetuning with transformers' `Trainer`, in tokens per second on the same rows.

They take turns. The rows are windows of texts in the same order, and all tokens count in the loss.
Both use AdamW, float32 and gradient norm 1. `Trainer` pads the rows of a micro-batch to the longest
one, and its micro-batch has as many rows as ours on average. The first step is not counted.

    python -m benchmarks.training [--json FILE] [--documents FILE] [--model DIR] [--turns N]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BATCH, MICRO_BATCH_TOKENS, STEPS = 16, 1024, 4
TEXTS, WINDOW_TOKENS = 64, 256
OURS, TRAINER = "ours", "Trainer"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="model directory; default: the embedded one")
    parser.add_argument("--documents", type=Path, help="JSON lines with a field text")
    parser.add_argument("--turns", type=int, default=2, help="measurements of each")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args(arguments)

    from benchmarks.machine import gemm_peak, machine, versions
    from toolformer.forward.embedded_model import ensure_embedded_model
    from toolformer.forward.model_directory import model_without_weights
    from toolformer.home.home import Home

    base = options.model or ensure_embedded_model(Home.find().converted_models)
    rows = _rows(base, options.documents)
    peak = gemm_peak("float32", repeats=5)
    operations = 6 * model_without_weights(base).num_parameters()
    ways: dict[str, Callable[[], float]] = {
        OURS: lambda: _ours(base, rows),
        TRAINER: lambda: _trainer(base, rows),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.turns):
        for name, way in ways.items():
            speeds[name].append(way())
            print(f"{name:14} {speeds[name][-1]:8.1f} tokens/s", flush=True)
    best = {name: max(values) for name, values in speeds.items()}
    for name, speed in best.items():
        share, ratio = speed * operations / peak, speed / best[TRAINER]
        print(f"{name:14} {speed:8.1f} tokens/s, {share:.0%} of the peak, {ratio:.2f}× Trainer")
    if options.json is not None:
        figures = {
            "machine": machine(),
            "versions": versions(),
            "gemm_peak_gflops": peak / 1e9,
            "tokens_per_second": speeds,
            "share_of_peak": {name: speed * operations / peak for name, speed in best.items()},
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _rows(base: Path, documents: Path | None) -> list[list[int]]:
    from benchmarks.workload import default_documents_file
    from toolformer.forward.tokenization import load_tokenizer

    tokenizer = load_tokenizer(base)
    lines = (documents or default_documents_file()).read_text(encoding="utf-8").splitlines()
    rows = [tokenizer.encode(json.loads(line)["text"])[: WINDOW_TOKENS - 1] for line in lines]
    return [row for row in rows if row][:TEXTS]


def _ours(base: Path, rows: Sequence[list[int]]) -> float:
    """Return tokens per second of all steps but the first and the last."""
    from toolformer.forward.devices import resolve_device
    from toolformer.settings.training_sections import TrainingSettings
    from toolformer.training.finetuning import finetune
    from toolformer.training.progress import StepReport
    from toolformer.training.training_job import TrainingJob
    from toolformer.training.training_rows import DevelopmentRows, TrainingRow

    reports: list[tuple[StepReport, float]] = []
    settings = {"batch_size": BATCH, "micro_batch_tokens": MICRO_BATCH_TOKENS, "evaluations": 1}
    with tempfile.TemporaryDirectory() as folder:
        # The development rows are as short as possible, because their cost is not measured.
        shortest = [TrainingRow(tuple(rows[0][:2]), bytes(2))]
        job = TrainingJob(
            base=base,
            rows=[TrainingRow(tuple(row), bytes(len(row))) for row in rows],
            development=DevelopmentRows(shortest, shortest),
            settings=TrainingSettings.model_validate({"warmup_share": 0.0, **settings}),
            steps=STEPS,
            learning_rate=1e-5,
            precision="float32",
            bos_token=None,
            device=resolve_device("auto"),
            state_folder=Path(folder) / "state",
            fingerprint="benchmark",
        )
        finetune(
            job,
            Path(folder) / "output",
            facts={},
            report=lambda step: reports.append((step, time.perf_counter())),
        )
    # The last step includes saving the model.
    (first, began), (last, ended) = reports[0], reports[-2]
    return (last.tokens - first.tokens) / (ended - began)


def _trainer(base: Path, rows: Sequence[list[int]]) -> float:
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from toolformer.forward.tokenization import load_tokenizer
    from toolformer.training.training_rows import batch_rows

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    start = load_tokenizer(base).backend.get_vocab()["<|endoftext|>"]
    at_once = max(1, MICRO_BATCH_TOKENS // (sum(map(len, rows)) // len(rows)))
    while BATCH % at_once:
        at_once -= 1
    order = [
        index
        for step in range(1, STEPS + 1)
        for index in batch_rows(len(rows), batch_size=BATCH, step=step, seed=0)
    ]
    ends: list[float] = []

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    def padded(of_batch: list[list[int]]) -> dict[str, torch.Tensor]:
        width = max(map(len, of_batch)) + 1
        ids = torch.full((len(of_batch), width), start)
        labels = torch.full((len(of_batch), width), -100)
        for index, row in enumerate(of_batch):
            ids[index, 1 : len(row) + 1] = torch.tensor(row)
            labels[index, 1 : len(row) + 1] = torch.tensor(row)
        mask = torch.arange(width)[None] <= torch.tensor([[len(row)] for row in of_batch])
        return {"input_ids": ids, "labels": labels, "attention_mask": mask.long()}

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(order)

    with tempfile.TemporaryDirectory() as folder:
        InOrder(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=at_once,
                gradient_accumulation_steps=BATCH // at_once,
                max_steps=STEPS,
                learning_rate=1e-5,
                lr_scheduler_type="constant",
                max_grad_norm=1.0,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
            ),
            train_dataset=[rows[index] for index in order],  # pyright: ignore[reportArgumentType]
            data_collator=padded,
            callbacks=[Watch()],
        ).train()
    counted = order[BATCH : BATCH * (STEPS - 1)]
    return sum(len(rows[index]) for index in counted) / (ends[-2] - ends[0])


if __name__ == "__main__":
    main()
