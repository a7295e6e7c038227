"""The files that are made from the code: `make docs` writes them, and a test compares each."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_project.definitions import definitions
from tests.assets.setting_effects import stages_table
from tests.reference import PAGES
from toolformer.home.partitions import PartitionsOfHome

_REPOSITORY = Path(__file__).parents[1]
_STAGES = ("<!-- stages -->\n", "\n<!-- end of stages -->")


def graph() -> dict[str, Any]:
    """The graph as it is compared: nothing in it depends on the machine."""
    specs = {spec.key.to_user_string(): spec for spec in definitions().resolve_all_asset_specs()}
    return {
        name: {
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            # Behind it is a digest of the settings.
            "code_version": str(spec.code_version).partition("-")[0],
            "partitions": _partitions(spec.partitions_def),
        }
        for name, spec in sorted(specs.items())
    }


def _partitions(definition: dg.PartitionsDefinition | None) -> str | list[str] | None:
    """Of shards their name, of variants the keys, of several dimensions their names."""
    if isinstance(definition, PartitionsOfHome):
        return definition.name.split("_", 2)[2]
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return list(definition.partition_dimension_names)
    return list(definition.get_partition_keys()) if definition else None


def _graph_file() -> str:
    return json.dumps(graph(), indent=2) + "\n"


def _architecture() -> str:
    """ARCHITECTURE.md as it is, with the table of stages."""
    start, end = _STAGES
    before, _, behind = (_REPOSITORY / "ARCHITECTURE.md").read_text("utf-8").partition(start)
    return f"{before}{start}{stages_table()}{end}{behind.partition(end)[2]}"


FILES: Mapping[Path, Callable[[], str]] = {
    _REPOSITORY / "tests" / "dagster_project" / "graph.json": _graph_file,
    _REPOSITORY / "ARCHITECTURE.md": _architecture,
    **{_REPOSITORY / "docs" / "reference" / name: page for name, page in PAGES.items()},
}

if __name__ == "__main__":
    for path, content in FILES.items():
        path.write_text(content(), "utf-8")
