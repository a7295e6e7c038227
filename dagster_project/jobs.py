"""The jobs: what is run once, per shard, on all of it, and per benchmark and model.

All assets of a job have the same kind of partition. Otherwise a job launched for one shard would
train the model on that shard alone. `train` has the finetuned model and its controls, `evaluate`
benchmarks by models.
"""

import dagster as dg

_DESCRIPTIONS = {
    "prepare": "Cut the corpus into shards and build the search indexes. Run this first.",
    "build_dataset": "Sample, execute and filter calls, and merge them into the texts, per shard.",
    "train": "Finetune the model on all shards of C*, calibrate where it opens calls, and show "
    "the statistics; a partition for the model and for each of its controls.",
    "evaluate": "Measure models by benchmarks, calls disabled and enabled, and report what calls "
    "gain; a partition for each benchmark and model.",
}
JOBS = {
    name: dg.define_asset_job(name, dg.AssetSelection.groups(name), description=description)
    for name, description in _DESCRIPTIONS.items()
}
