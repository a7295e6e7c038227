"""Perplexity of the windows that a home measured, by a literal loop beside the pipeline's figure.

The loop is transformers alone in float32: the start token and the tokens of one window at a time.

    python -m benchmarks.perplexity --home FOLDER
"""

import argparse
import math
from pathlib import Path
from typing import Any

from dagster_project.home import Home
from dagster_project.settings.settings_file import load_settings
from dagster_project.wiring.evaluated_models import evaluated_model
from warehouse.warehouse import Warehouse

_START = "<|endoftext|>"


def literal_perplexity(directory: Path, windows: list[str]) -> float:
    """From the mean loss of all tokens, each window behind the start token."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(directory)
    start = tokenizer.convert_tokens_to_ids(_START)
    losses: list[float] = []
    for window in windows:
        ids = torch.tensor([start, *tokenizer.encode(window, add_special_tokens=False)])
        with torch.inference_mode():
            logits = model(input_ids=ids[None]).logits[0, :-1]
        losses += torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none").tolist()
    return math.exp(math.fsum(losses) / len(losses))


def main() -> None:
    """Print a line for each of the two models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    home = Home(parser.parse_args().home.absolute())
    settings, store = load_settings(home.settings_file), Warehouse(home.warehouse, home.database)
    summary = store.view("evaluation_summary").filter(benchmark="perplexity")
    windows = store.query(
        "select model, prompt from evaluation_results where benchmark = 'perplexity'"
    )
    for row in summary.iter_rows(named=True):
        literal = literal_perplexity(
            evaluated_model(row["model"], settings, home).directory,
            windows.filter(model=row["model"])["prompt"].to_list(),
        )
        print(f"{row['model']}: {row['score']:.4f} ({row['precision']}), literal {literal:.4f}")


if __name__ == "__main__":
    main()
