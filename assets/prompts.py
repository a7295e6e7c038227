"""The few-shot prompts that calls were sampled with, each stored once.

Fingerprints name a prompt by its digest, and the file that it was read from may change. Does not
read prompts or sample.
"""

import polars as pl

from toolformer.ground.digests import hex_digest
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

TABLE = "prompts"


def keep_prompt(warehouse: Warehouse, prompt: str) -> None:
    """Store a prompt under its digest, unless it is there.

    Args:
        warehouse: where it is stored. Two runs may store the same; their rows are equal.
        prompt: with its slot.
    """
    digest = hex_digest(prompt)
    if warehouse.slice_version(TABLE, ALL, digest) is None:
        rows = pl.DataFrame([{"digest": digest, "text": prompt}])
        warehouse.replace_slice(TABLE, ALL, digest, rows, metadata={})
