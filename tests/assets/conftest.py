"""Small homes: three shards of three short texts, and a tiny model that writes calls.

The model that comes with the project builds real documents in `test_all_tools`.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from ruamel.yaml import YAML

from dagster_project.commands.build import build_dataset, prepare, run_rounds
from dagster_project.commands.evaluate import evaluate_models
from dagster_project.commands.options import RunOptions
from dagster_project.commands.train import train_model
from dagster_project.runs import run_job
from tests.fakes import save_calling_model
from tests.homes import (
    SmallHome,
    generated_articles,
    generated_texts,
    short_prompts,
    small_settings,
    write_lines,
)
from toolformer.settings.sections import merged
from warehouse.schema import tables

# That are annotated; a third one is held out.
SHARDS = ("shard-00000", "shard-00001")
# What two equal builds may differ in (besides `stage_costs`).
VOLATILE = ("duration_ms", "from_cache")


class PipelineHome(SmallHome):
    """A home that a test builds in, with the commands of the command line."""

    def change_settings(self, changes: Mapping[str, Any]) -> None:
        self.write_settings(
            merged(YAML(typ="safe").load(self.home.settings_file.read_text()), changes)
        )

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This process's TOOLFORMER_HOME is this one while the block runs."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TOOLFORMER_HOME", str(self.home.root))
            # The commands set it; named here so that it is put back afterwards.
            patch.setenv("DAGSTER_HOME", str(self.home.dagster))
            yield

    def prepare(self) -> None:
        options = RunOptions()
        with self.entered():
            settings = options.load_settings(self.home)
            with run_job.dagster_instance(self.home) as instance:
                prepare(options, self.home, settings, instance)

    def build(
        self,
        *,
        shards: Sequence[str] = (),
        tools: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> None:
        options = RunOptions(overrides or {}, force, tuple(tools))
        with self.entered():
            build_dataset(options, shards)

    def train(self, *, overrides: Mapping[str, Any] | None = None, force: bool = False) -> None:
        with self.entered():
            train_model(RunOptions(overrides or {}, force))

    def rounds(self, *, until: int) -> None:
        with self.entered():
            run_rounds(RunOptions(), until=until, dry_run=False)

    def evaluate(self, *benchmarks: str) -> None:
        with self.entered():
            evaluate_models(RunOptions.of(None, benchmarks=benchmarks))

    def rows(self, table: str, *, shards: Sequence[str] = SHARDS) -> pl.DataFrame:
        """The rows of a table as two equal builds have them, in their stored order."""
        frames = [self.warehouse.read_partitions(table, shard) for shard in shards]
        return pl.concat(frames).drop(VOLATILE, strict=False)

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.home.dagster))

    def run_ids(self, job: str) -> list[str]:
        with self.instance() as instance:
            return [run.run_id for run in instance.get_runs(dg.RunsFilter(job_name=job))]

    def metadata(self, asset: str, shard: str | None = None) -> dict[str, Any]:
        """What the last materialisation of an asset, or of a shard of it, shows."""
        shards = None if shard is None else [shard]
        wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=shards)
        with self.instance() as instance:
            event = instance.fetch_materializations(wanted, limit=1).records[0]
        assert event.asset_materialization is not None
        return {name: each.value for name, each in event.asset_materialization.metadata.items()}

    def partition_states(self) -> dict[str, tuple[int, int] | str]:
        """What tells each partition from others in its place, made again from the same too."""
        return {
            f"{table}/shard={info.shard}/{info.name}": (
                str(self.warehouse.partition_version(table, info.shard, info.name))
                if info.path is None
                else identity(info.path)
            )
            for table in tables()
            for info in self.warehouse.partitions(table)
        }


def identity(path: Path) -> tuple[int, int]:
    """Which file this is, whatever its name."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Once:
    """Makes a folder in the first worker that needs it; others wait for it, and none changes it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)

    def cache_latest(name: str, make: Callable[[Path], object]) -> Path:
        made, begun = shared / name, shared / f"{name}.begun"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                make(begun)
                begun.rename(made)
        return made

    return cache_latest


@pytest.fixture(scope="session")
def corpus_file(once: Once) -> Path:
    """Nine short dated texts with sums; beside them articles."""

    def write(folder: Path) -> None:
        folder.mkdir()
        write_lines(folder / "texts.jsonl", generated_texts(0, 9))
        write_lines(folder / "articles.jsonl", generated_articles(0))

    return once("corpus", write) / "texts.jsonl"


@pytest.fixture(scope="session")
def calling_model(once: Once) -> Path:
    return once("tiny", save_calling_model)


@pytest.fixture(scope="session")
def pipeline_settings(corpus_file: Path, calling_model: Path) -> dict[str, Any]:
    articles = corpus_file.with_name("articles.jsonl")
    # Places enough that every text keeps calls, whichever digits a processor rounds to.
    tools = {name: {**tool, "positions_per_text": 5} for name, tool in short_prompts().items()}
    changes = {
        "tools": tools,
        "wikipedia_index": {"source": str(articles)},
        "training": {"learning_rate": 1e-4},
    }
    return merged(small_settings(calling_model, corpus_file), changes)


MakeHome = Callable[..., PipelineHome]


@pytest.fixture(scope="session")
def prepared_home(once: Once, tmp_path_factory, pipeline_settings: dict[str, Any]) -> PipelineHome:
    """Shards cut and the Wikipedia index built; copied, never built in."""

    def make(root: Path) -> None:
        made = PipelineHome(root)
        made.write_settings(pipeline_settings)
        made.prepare()

    made = PipelineHome(once("prepared", make))
    return made.copy(tmp_path_factory.mktemp("prepared") / "home")


@pytest.fixture(scope="session")
def built_home(once: Once, tmp_path_factory, prepared_home: PipelineHome) -> PipelineHome:
    """All shards and tools built; copied, never changed."""
    made = PipelineHome(once("built", lambda root: prepared_home.copy(root).build()))
    return made.copy(tmp_path_factory.mktemp("built") / "home")


@pytest.fixture
def copy_of(tmp_path) -> MakeHome:
    """Makes this test's own copy of a home."""

    def copy(original: PipelineHome, name: str = "home") -> PipelineHome:
        return original.copy(tmp_path / name)

    return copy


@pytest.fixture
def no_model(monkeypatch) -> None:
    """Whoever loads a model in this test fails."""
    refuse_models(monkeypatch)


def refuse_models(patch: pytest.MonkeyPatch) -> None:
    from toolformer.forward.language_model import LanguageModel

    patch.setattr(LanguageModel, "load", lambda *_, **__: pytest.fail("a model was loaded"))
