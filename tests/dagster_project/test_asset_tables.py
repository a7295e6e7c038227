"""Assets with a table, and its columns."""

import dagster as dg
import pytest

from dagster_project.definitions import definitions
from dagster_project.metadata import column_schema

SPECS = {spec.key.to_user_string(): spec for spec in definitions().resolve_all_asset_specs()}
TABLES = {
    name: str(spec.metadata["dagster/table_name"])
    for name, spec in sorted(SPECS.items())
    if "dagster/table_name" in spec.metadata
}


def columns_of(asset: str) -> set[str]:
    schema = SPECS[asset].metadata["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchema)
    return {column.name for column in schema.columns}


def test_assets_with_a_table_are_these():
    assert {
        "documents": "documents",
        **{name: name for name in SPECS if SPECS[name].group_name == "build_dataset"},
        "training_set": "training_texts",
        "evaluation_results": "evaluation_results",
    } == TABLES


@pytest.mark.parametrize("asset", TABLES)
def test_every_asset_with_a_table_has_description_kinds_and_columns(asset):
    spec = SPECS[asset]
    assert spec.description
    assert spec.kinds
    assert columns_of(asset) == {column.name for column in column_schema(TABLES[asset]).columns}
