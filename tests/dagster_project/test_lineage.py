"""Owners of assets, columns of their tables, and where these come from."""

import dagster as dg
import pytest

from dagster_project.definitions import defs
from dagster_project.lineage import sources_of
from dagster_project.metadata import column_schema
from dagster_project.owners import OWNERS
from warehouse.schema import tables

GRAPH = defs.resolve_asset_graph()
SPECS = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
TABLES = {
    name: str(spec.metadata["dagster/table_name"])
    for name, spec in sorted(SPECS.items())
    if "dagster/table_name" in spec.metadata
}


def columns_of(asset: str) -> set[str]:
    schema = SPECS[asset].metadata["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchema)
    return {column.name for column in schema.columns}


def lineage_of(asset: str) -> dict[str, list[dg.TableColumnDep]]:
    lineage = SPECS[asset].metadata["dagster/column_lineage"]
    assert isinstance(lineage, dg.TableColumnLineage)
    return {name: list(deps) for name, deps in lineage.deps_by_column.items()}


def test_assets_with_a_table_are_these():
    assert {
        **{name: name for name in SPECS if SPECS[name].group_name == "build_dataset"},
        "training_set": "training_texts",
        "evaluation_results": "evaluation_results",
        "evaluation_report": "score_intervals",
    } == TABLES


def test_every_asset_has_the_owner_of_its_group():
    assert {spec.group_name for spec in SPECS.values()} == set(OWNERS)
    for name, spec in SPECS.items():
        assert spec.owners == [OWNERS[str(spec.group_name)]], name


@pytest.mark.parametrize("asset", TABLES)
def test_every_asset_with_a_table_has_description_kinds_columns_and_lineage(asset):
    spec = SPECS[asset]
    assert spec.description
    assert spec.kinds
    assert columns_of(asset) == {column.name for column in column_schema(TABLES[asset]).columns}
    assert lineage_of(asset)


@pytest.mark.parametrize("asset", TABLES)
def test_a_column_comes_from_columns_that_are_there_and_upstream(asset):
    upstream = {key.to_user_string() for key in GRAPH.get_ancestor_asset_keys(dg.AssetKey(asset))}
    for column, deps in lineage_of(asset).items():
        assert column in columns_of(asset)
        assert deps
        for dep in deps:
            assert dep.asset_key.to_user_string() in upstream, column
            assert dep.column_name in columns_of(dep.asset_key.to_user_string()), column


def test_nothing_is_declared_for_a_table_or_column_that_is_not_there():
    from dagster_project import lineage

    assert set(lineage._DECLARED) == set(lineage._MADE_FROM) == set(TABLES.values())
    for table, declared in lineage._DECLARED.items():
        assert declared.keys() <= set(tables()[table].column_names), table
    assert all(
        any(key in table.column_names for table in tables().values()) for key in lineage._KEYS
    )


def test_keys_are_handed_on_by_the_nearest_table():
    (call,) = sources_of("filtered_calls")["call_id"]
    assert call == dg.TableColumnDep("executed_calls", "call_id")
    (window,) = sources_of("filtered_calls")["window_index"]
    assert window == dg.TableColumnDep("candidate_calls", "window_index")
    assert "reason" not in sources_of("executed_calls")


def test_the_sources_stand_with_the_meaning_of_a_column():
    by_name = {column.name: column for column in column_schema("score_intervals").columns}
    assert str(by_name["share_with_call"].description).endswith(
        "From evaluation_results.called_tool."
    )
