"""Perplexity of the base model and of every variant, finetuned at several learning rates.

Builds a home with preset `laptop`: beginnings of dated web documents and of Wikipedia passages,
half and half, as many as are trained on; held-out ones come on top. Thresholds are half the
paper's, or there would be a dozen texts to train on; QA, whose answers are no better than chance
here, is off. Then each variant is trained at each rate and read on three collections: the
development texts (which the training reads itself), the windows of the held-out documents, and
WikiText. Goes on where an interrupted measurement stopped.

    python -m benchmarks.learning_rates --work FOLDER [--documents 300] [--rates 3e-5 1e-4 3e-4]
"""

import argparse
import gzip
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from assets.shard_texts import documents_in, windows_of
from assets.training.training_inputs import training_and_held_out_shards
from benchmarks.build import run_command
from benchmarks.kept_calls import write_beginnings
from benchmarks.machine import machine, versions
from benchmarks.workload import test_data_file
from dagster_project.commands import console
from dagster_project.home import Home
from dagster_project.settings.settings_file import load_settings
from dagster_project.wiring.model_holder import base_model_directory
from dagster_project.wiring.warehouse import open_warehouse
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.tokenization import Tokenizer, load_tokenizer
from toolformer.forward.windows import Window, split_into_windows
from toolformer.text_losses import token_losses
from toolformer.training.finetuning import RECORD_FILE
from toolformer.training.variants import VARIANTS

_FAMILIES = ("web_docs", "wiki_passages")
# Of each collection of windows, evenly spread: 16,000 tokens at most.
_WINDOWS = 64
_BATCH = 4
# Of four shards one is held out by preset `laptop`.
_HELD_OUT_EVERY = 4
_SETTINGS = """\
preset: laptop
wikipedia_index:
  source: {passages}
tools:
  QA: {{is_enabled: false}}
  WikiSearch: {{filtering_threshold: 0.5}}
  Calendar: {{filtering_threshold: 0.5}}
  Calculator: {{filtering_threshold: 0.25}}
training:
  # A development perplexity of four texts would be chance.
  development_share: 0.15
"""

Windows = dict[str, list[Window]]


def main() -> None:
    """Run the measurement and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="where home and figures are kept")
    parser.add_argument("--documents", type=int, default=300, help="that are trained on")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 3e-5, 3e-4])
    options = parser.parse_args()
    home = Home(options.work / "home")
    _build(home, options.documents)
    base = base_model_directory(load_settings(home.settings_file), home)
    windows = _windows(home, load_tokenizer(base))
    kept = options.work / "learning_rates.json"
    figures: dict[str, Any] = {"machine": machine(), "versions": versions(), "models": {}}
    if kept.exists():
        figures = json.loads(kept.read_text(encoding="utf-8"))
    models = figures["models"]

    def keep(name: str, row: dict[str, Any]) -> None:
        models[name] = row
        kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")

    if "base" not in models:
        keep("base", {"variant": "base", "learning_rate": None, **_perplexities(base, windows)})
    for rate in options.rates:
        for variant in VARIANTS:
            name = f"{variant} at {rate:g}"
            if name in models:
                continue
            model = home.finetuned_model(1, variant)
            run_command(
                home.root,
                "train",
                "--variant",
                variant,
                "--set",
                f"training.learning_rate={rate}",
            )
            record = json.loads((model / RECORD_FILE).read_text(encoding="utf-8"))
            trained = {
                "texts": record["rows"],
                "calls": sum(record["facts"]["calls"].values()),
                "development, base": record["result"]["base_perplexity"],
                "development": record["result"]["best_perplexity"],
                "tokens": record["result"]["tokens"],
                "seconds": record["result"]["seconds"],
            }
            keep(
                name,
                {
                    "variant": variant,
                    "learning_rate": rate,
                    **trained,
                    **_perplexities(model, windows),
                },
            )
    console.frame(pl.DataFrame(list(models.values()), infer_schema_length=None))


def _build(home: Home, documents: int) -> None:
    if not home.sources.exists():
        home.root.mkdir(parents=True, exist_ok=True)
        home.settings_file.write_text(
            _SETTINGS.format(passages=test_data_file("wiki_passages")), encoding="utf-8"
        )
        with_held_out = documents * _HELD_OUT_EVERY // (_HELD_OUT_EVERY - 1)
        for family in _FAMILIES:
            texts = home.root / f"{family}.jsonl"
            write_beginnings(test_data_file(family), with_held_out // len(_FAMILIES), texts)
            run_command(home.root, "ingest", str(texts))
    run_command(home.root, "build")


def _windows(home: Home, tokenizer: Tokenizer) -> Windows:
    """Windows of the held-out documents and of WikiText, evenly spread."""
    window_tokens = load_settings(home.settings_file).corpus.window_tokens
    store = open_warehouse(home)
    held_out = [
        window
        for shard in training_and_held_out_shards(home)[1]
        for window in windows_of(documents_in(store, shard), tokenizer, window_tokens=window_tokens)
    ]
    with gzip.open(test_data_file("wikitext"), "rt", encoding="utf-8") as file:
        wikitext = split_into_windows(
            "wikitext", file.read(), tokenizer, window_tokens=window_tokens
        )
        return {"held-out": _spread(held_out), "WikiText": _spread(list(wikitext))}


def _spread(windows: Sequence[Window]) -> list[Window]:
    return list(windows[:: max(1, len(windows) // _WINDOWS)][:_WINDOWS])


def _perplexities(directory: Path, windows: Windows) -> dict[str, float]:
    """Perplexity of each collection, every token weighing the same; in float32."""
    model = LanguageModel.load(directory, precision="float32")
    return {
        name: math.exp(math.fsum(losses) / len(losses))
        for name, of_collection in windows.items()
        for losses in [list(_losses(model, of_collection))]
    }


def _losses(model: LanguageModel, windows: Sequence[Window]) -> Iterator[float]:
    for start in range(0, len(windows), _BATCH):
        batch = [list(window.ids) for window in windows[start : start + _BATCH]]
        for of_window in token_losses(model, batch):
            yield from of_window


if __name__ == "__main__":
    main()
