"""The stages of the paper as Dagster assets: read, call the engine, write, report."""

import warnings

# Backfill policies are marked beta in Dagster 1.13; the warning would stand six times before every
# command's output. Drop the filter when they leave beta.
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`")
