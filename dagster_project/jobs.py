"""Defines the jobs, one per kind of partition.

`build_dataset` has shards, `train` model variants, and `evaluate` pairs of benchmark and model. If
one job had both shards and variants, a run for one shard would train on that shard only.
"""

import dagster as dg

_DESCRIPTIONS = {
    "prepare": "Cut the corpus into shards and build the search indexes. Run this first.",
    "build_dataset": "Sample, execute and filter calls, then merge the kept calls into the texts. "
    "One partition per shard.",
    "train": "Finetune the model on all shards of C*, calibrate when it opens a call, and compute "
    "the statistics. One partition for the model and one per control.",
    "evaluate": "Evaluate models on benchmarks, with calls disabled and enabled, and report what "
    "calls gain. One partition per benchmark and model.",
}
JOBS = {
    name: dg.define_asset_job(name, dg.AssetSelection.groups(name), description=description)
    for name, description in _DESCRIPTIONS.items()
}
