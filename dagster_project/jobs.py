"""The jobs: what is run once, per shard, on all of it, and per benchmark and model.

All assets of a job have the same kind of partition. Otherwise a job launched for one shard would
train the model on that shard alone. `train` has the finetuned model and its
controls, `evaluate` benchmarks by models.
"""

import dagster as dg

prepare = dg.define_asset_job(
    "prepare",
    selection=dg.AssetSelection.groups("prepare"),
    description="Cut the corpus into shards and build the search indexes. Run this first.",
)
build_dataset = dg.define_asset_job(
    "build_dataset",
    selection=dg.AssetSelection.groups("build_dataset"),
    description="Sample, execute and filter calls, and merge them into the texts, per shard.",
)
train = dg.define_asset_job(
    "train",
    selection=dg.AssetSelection.groups("train"),
    description="Finetune the model on all shards of C*, calibrate where it opens calls, and show "
    "the statistics; a partition for the model and for each of its controls.",
)
evaluate = dg.define_asset_job(
    "evaluate",
    selection=dg.AssetSelection.groups("evaluate"),
    description="Measure models by benchmarks, calls disabled and enabled, and report what calls "
    "gain; a partition for each benchmark and model.",
)
JOBS = [prepare, build_dataset, train, evaluate]
