"""What Dagster is told: the graph, its jobs, and what loading it costs."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from dagster._core.workspace.load import location_origins_from_yaml_paths

from assets.dagster_internals import REPOSITORY_ORIGIN
from assets.dataset.stages import PIPELINE
from dagster_project.definitions import definitions, definitions_of
from tests.conftest import REPOSITORY
from tests.generated import graph
from toolformer.home.home import Home
from toolformer.settings.corpus_sections import SourceSettings
from toolformer.settings.source_file import write_added_sources

HEAVY = ("torch", "transformers", "pyserini", "jnius", "faiss", "duckdb", "matplotlib", "gensim")
# The stages whose rows depend on the version of each tool that may be called.
OF_TOOLS = ("min_call_probability", "evaluation_results")
JOBS = {
    "prepare": {"corpus_manifest", "wikipedia_index", "passage_index"},
    "build_dataset": set(PIPELINE.names),
    "train": {"training_set", "finetuned_model", "min_call_probability", "call_statistics"},
    "evaluate": {"evaluation_results", "evaluation_report", "report"},
}


def test_the_jobs_have_their_assets():
    for name, assets in JOBS.items():
        job = definitions().resolve_job_def(name)
        nodes = job.asset_layer.executable_asset_keys
        assert {key.to_user_string() for key in nodes} == assets
    # Nothing runs it: `corpus_manifest` stores the texts.
    assert set().union(*JOBS.values()) == set(graph()) - {"documents"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("dagster_project.definitions", HEAVY),
        ("dagster_project.cli", ("dagster", "polars", *HEAVY)),
        ("dagster_project.commands.stats", ("dagster", "polars", *HEAVY)),
    ],
)
def test_code_location_command_line_and_statistics_import_nothing_heavy(
    module: str, heavy: tuple[str, ...]
):
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_ui_names_owner_and_rows_of_each_asset(home: Home):
    specs = definitions_of(home).resolve_all_asset_specs()
    assert all(spec.owners == ["team:toolformer"] for spec in specs)
    folders = {
        spec.key.to_user_string(): spec.metadata["dagster/uri"]
        for spec in specs
        if "dagster/table_name" in spec.metadata
    }
    assert set(PIPELINE.names) < folders.keys()
    assert folders["training_set"] == (home.warehouse / "training_texts").as_uri()


def test_dagster_commands_and_dg_load_the_same_module():
    (location,) = location_origins_from_yaml_paths([str(REPOSITORY / "workspace.yaml")])
    assert location == REPOSITORY_ORIGIN.code_location_origin
    (entry,) = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())["load_from"]
    assert entry["python_module"]["module_name"] == "dagster_project.definitions"
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    # Either table would make `dagster dev` ignore workspace.yaml.
    assert not {"dagster", "dg"} & set(pyproject["tool"])
    project = tomllib.loads((REPOSITORY / "dg.toml").read_text())["project"]
    assert project["code_location_name"] == entry["python_module"]["location_name"]
    assert project["code_location_target_module"] == entry["python_module"]["module_name"]


@pytest.mark.slow
def test_dg_loads_the_definitions(tmp_path):
    dg = Path(sys.executable).with_name("dg")
    if not dg.exists():
        pytest.skip("dagster-dg-cli is not installed (extra `clients`)")
    environment = {**os.environ, "TOOLFORMER_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    checked = subprocess.run(
        [dg, "check", "defs"], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
    assert "All definitions loaded successfully." in checked.stdout


class TestCodeVersions:
    """A changed setting shows in the UI, and moves the sensor, as another code version."""

    SETTINGS = "preset: small\nrounds:\n- sampling: {proposals: calls}\n- {}\n"

    def versions(self, home: Home, text: str) -> dict[str, str | None]:
        home.root.mkdir(exist_ok=True)
        home.settings_file.write_text(text, encoding="utf-8")
        specs = definitions_of(home).resolve_all_asset_specs()
        return {spec.key.to_user_string(): spec.code_version for spec in specs}

    def changed(self, home: Home, text: str) -> set[str]:
        before = self.versions(home, self.SETTINGS)
        after = self.versions(home, text)
        return {name for name, version in after.items() if version != before[name]}

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("tools: {Calculator: {filtering_threshold: 0.7}}", {"filtered_calls"}),
            ("tools: {Calculator: {calls_per_position: 2}}", {"candidate_calls"}),
            ("training: {learning_rate: 0.5}", {"finetuned_model"}),
            # The sensor's own business, and no rows'.
            ("sampling: {shards: 3}", set()),
            ("runs: {shards_per_run: 3}", set()),
        ],
    )
    def test_a_setting_is_in_those_of_the_stages_whose_rows_depend_on_it(
        self, tmp_path, line, expected
    ):
        assert self.changed(Home(tmp_path / "home"), f"{self.SETTINGS}{line}\n") == expected

    def test_a_setting_of_a_later_round_counts(self, tmp_path):
        later = self.SETTINGS.replace("- {}", "- tools: {Calculator: {filtering_threshold: 0.7}}")
        assert self.changed(Home(tmp_path / "home"), later) == {"filtered_calls"}

    def test_a_tool_of_the_users_own_counts_with_its_class(self, tmp_path):
        own = "tools: {Facts: {class: 'tools.plugins.table_tool:TableTool'}}"
        changed = self.changed(Home(tmp_path / "home"), f"{self.SETTINGS}{own}\n")
        assert {"candidate_calls", "executed_calls", "filtered_calls"} <= changed

    @pytest.mark.parametrize(
        ("settings", "file", "expected"),
        [
            # What other files change, `test_plan_and_code_versions` says.
            (
                "tools: {Mark: {class: 'of_this_test:tool'}}",
                "beside_this_test.py",
                {"candidate_calls", "executed_calls", *OF_TOOLS},
            ),
            (
                "{language_model: {path: model}, training: {plain_share: 0.5}}",
                "model/weights.safetensors",
                {"candidate_calls", "executed_calls", "scored_calls", "training_set"}
                | {"finetuned_model", *OF_TOOLS},
            ),
            # Which texts there are, the manifest knows: a new one changes no other.
            ("corpus: {sources: [{path: texts.jsonl}]}", "texts.jsonl", set()),
        ],
    )
    def test_an_edited_file_is_in_those_of_the_stages_whose_rows_depend_on_it(
        self, tmp_path, monkeypatch, settings, file, expected
    ):
        home = Home(tmp_path / "home")
        edited = home.root / file
        edited.parent.mkdir(parents=True)
        (home.root / "of_this_test.py").write_text("import beside_this_test\n")
        monkeypatch.syspath_prepend(str(home.root))
        texts = []
        for text in ("RATE = 1.9\n", "RATE = 2.5\n"):
            edited.write_text(text)
            texts.append(self.versions(home, f"{settings}\n"))
        before, after = texts
        assert {name for name, version in after.items() if version != before[name]} == expected

    def test_a_further_source_is_in_that_of_the_corpus_alone(self, tmp_path):
        home = Home(tmp_path / "home")
        before = self.versions(home, self.SETTINGS)
        write_added_sources(home.settings_file, [SourceSettings(path="/new.jsonl")])  # pyright: ignore[reportCallIssue]
        after = self.versions(home, self.SETTINGS)
        assert {name for name in after if after[name] != before[name]} == {"corpus_manifest"}

    def test_a_broken_file_is_told_and_leaves_no_versions(self, tmp_path):
        home = Home(tmp_path / "home")
        assert self.versions(home, "presett: small\n")["filtered_calls"] is None
        defined = definitions_of(home)
        (spec,) = defined.get_assets_def("filtered_calls").specs
        assert "no setting 'presett'. Did you mean 'preset'?" in spec.metadata["settings"]
        shown = defined.get_repository_def().get_sensor_def("annotate_new_shards").description
        assert "no setting 'presett'" in str(shown)
