"""The stages of the paper as Dagster assets: read, call the engine, write, report."""

import warnings

# Backfill policies are marked beta in Dagster 1.13, and partitions of checks preview. Each command
# would print both warnings. Drop the filters when these are stable.
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`")
warnings.filterwarnings("ignore", message="Specifying a partitions_def on an AssetCheckSpec")
