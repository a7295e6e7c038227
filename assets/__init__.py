"""The stages of the paper as Dagster assets: each reads, calls the engine, stores and reports."""

import warnings

# In Dagster 1.13 backfill policies are beta and partitioned checks are a preview, so every command
# would print two warnings. Remove the filters when both are stable.
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`")
warnings.filterwarnings("ignore", message="Specifying a partitions_def on an AssetCheckSpec")
