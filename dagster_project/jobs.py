"""The three jobs: what is run once, what is run per shard, and what is run on all of it.

Three, because a stage of shards and one of all of them in one job, launched for one shard, would
train the model on that shard alone. The partitions of `train_and_evaluate` are the finetuned model
and its controls.
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
train_and_evaluate = dg.define_asset_job(
    "train_and_evaluate",
    selection=dg.AssetSelection.groups("train_and_evaluate"),
    description="Finetune the model on all shards of C*, evaluate it, and show the statistics; a "
    "partition for the model and for each of its controls.",
)
JOBS = [prepare, build_dataset, train_and_evaluate]
