"""Who to ask about an asset: the team of its group.

Teams are those of the work, not people; an organisation names its own here. Dagster takes an
address of e-mail in place of `team:…`.
"""

from collections.abc import Iterable
from typing import Any

import dagster as dg

OWNERS = {
    "prepare": "team:corpus",
    "build_dataset": "team:annotation",
    "train": "team:training",
    "evaluate": "team:evaluation",
    "studies": "team:evaluation",
}


def owned(assets: Iterable[Any]) -> list[Any]:
    """The assets, each with the owner of its group."""
    return list(dg.map_asset_specs(_with_owner, assets))


def _with_owner(spec: dg.AssetSpec) -> dg.AssetSpec:
    return spec.replace_attributes(owners=[OWNERS[str(spec.group_name)]])
