"""Fixtures shared by all tests."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.outside import Outside

if TYPE_CHECKING:
    from tests.s3 import Store
    from toolformer.home.home import Home

REPOSITORY = Path(__file__).parent.parent
# Libraries read it when they are first imported, by whichever test that is.
os.environ["HF_HUB_OFFLINE"] = "1"

# A quarter of Hypothesis's own number, in each run; HYPOTHESIS_PROFILE=default for all of them.
# How long an example takes says nothing on a busy machine.
settings.register_profile(
    "short", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


@pytest.fixture
def home(tmp_path, monkeypatch) -> "Home":
    """An empty home, which commands find."""
    from toolformer.home.home import Home

    root = tmp_path / "home"
    monkeypatch.setenv("TOOLFORMER_HOME", str(root))
    monkeypatch.setenv("DAGSTER_HOME", str(root / "dagster"))
    return Home(root)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A saved model; copied, never changed."""
    from tests.fakes import save_tiny_model

    # A letter is a token, and a prompt has hundreds.
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", context_length=2048)


@pytest.fixture(scope="session")
def first_home(tmp_path_factory) -> Path:
    """What new homes begin with; made by the first test that needs it."""
    return tmp_path_factory.mktemp("first")


@pytest.fixture(autouse=True)
def _new_homes_are_copies(request, monkeypatch, first_home: Path, models_folder: Path) -> None:
    """A new home takes files without rows, views and Dagster's databases from the first one.

    They are the same everywhere, and writing them takes a second. What the code does about them
    itself, it does all the same, and finds them there. Tests of the warehouse write them. All
    homes link to one converted embedded model, which takes half a gigabyte and eight seconds.
    """
    from toolformer.forward import embedded_model

    linked = partial(_with_links_to_model, models_folder, embedded_model.ensure_embedded_model)
    monkeypatch.setattr(embedded_model, "ensure_embedded_model", linked)
    relations = sys.modules.get("warehouse.relations")
    if relations and not request.path.is_relative_to(REPOSITORY / "tests" / "warehouse"):
        first, partitions = first_home / "warehouse", sys.modules["warehouse.partitions"]
        copied = partial(_with_empty_files, first, partitions.write_empty_files)
        monkeypatch.setattr(partitions, "write_empty_files", copied)
        named = partial(_with_views, first_home / "views.duckdb", relations.write_database)
        monkeypatch.setattr(relations, "write_database", named)
        monkeypatch.setattr(relations, "is_current", lambda _, database: database.exists())
    if internals := sys.modules.get("assets.dagster_internals"):
        records = internals.SqliteEventLogStorage
        tables = _with_tables(first_home / "run.db", records._initdb)
        monkeypatch.setattr(records, "_initdb", tables)
    if run_job := sys.modules.get("dagster_project.runs.run_job"):
        begun = partial(_with_databases, first_home / "dagster", run_job.prepare_dagster_home)
        monkeypatch.setattr(run_job, "prepare_dagster_home", begun)


def _with_empty_files(
    first: Path, write: Callable[..., None], folder: Path, *, is_renewed: bool
) -> None:
    if not first.exists():
        write(first, is_renewed=True)
    if not any(folder.glob("*/shard=none")):
        shutil.copytree(first, folder, dirs_exist_ok=True)
        is_renewed = False
    write(folder, is_renewed=is_renewed)


def _with_views(
    first: Path, write: Callable[[Path, Path], None], folder: Path, database_file: Path
) -> None:
    """No code reads that file. Without its stamp, a process of its own writes it anew."""
    if not first.exists():
        write(folder, first)
    if not database_file.exists():
        shutil.copy(first, database_file)


def _with_links_to_model(shared: Path, ensure: Callable[[Path], Path], folder: Path) -> Path:
    """Link each file, not the folder: files written next to the model stay in their home."""
    model = ensure(shared)
    directory = folder / model.name
    if not directory.exists():
        shutil.copytree(model, directory, copy_function=os.symlink)
    return directory


def _with_databases(first: Path, prepare: "Callable[[Home], None]", home: "Home") -> None:
    import dagster as dg

    if not first.exists():
        first.mkdir()
        shutil.copy(REPOSITORY / "dagster_project" / "dagster.yaml", first)
        dg.DagsterInstance.from_config(str(first)).dispose()
    if not home.dagster.exists():
        shutil.copytree(first, home.dagster, ignore=shutil.ignore_patterns("dagster.yaml"))
    prepare(home)


def _with_tables(first: Path, create: Callable[..., None]) -> Callable[..., None]:
    """Dagster gives the records of each run a file of their own."""

    def created(storage: object, engine: Any, **options: bool) -> None:
        file = Path(engine.url.database)
        is_new = not file.exists()
        if is_new and first.exists():
            shutil.copy(first, file)
        create(storage, engine, **options)
        if is_new and not first.exists():
            shutil.copy(file, first)

    return created


def happens(what: Callable[[], object], *, seconds: float = 30) -> bool:
    """Whether something becomes true in time."""
    until = time.monotonic() + seconds
    while not what() and time.monotonic() < until:
        time.sleep(0.02)
    return bool(what())


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real documents and benchmarks, where a folder with them is given."""
    folder = os.environ.get("TOOLFORMER_TEST_DATA")
    if not folder:
        pytest.skip("TOOLFORMER_TEST_DATA is not set: no folder with real documents")
    return Path(folder)


@pytest.fixture(scope="session")
def s3() -> "Iterator[Store]":
    """An S3 store on this machine, for sources."""
    from tests.s3 import running_store

    with running_store() as store:
        yield store


@pytest.fixture
def outside(tmp_path, monkeypatch) -> Iterator[Outside]:
    """A folder on the path for tools from outside; what is imported from it is forgotten."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield Outside(folder)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def models_folder() -> Path:
    """Where the converted embedded model is kept between test runs."""
    home = Path(os.environ.get("TOOLFORMER_HOME", REPOSITORY / "data"))
    return home.absolute() / "models"


@pytest.fixture(scope="session")
def embedded_model_path(models_folder: Path) -> Path:
    from toolformer.forward.embedded_model import ensure_embedded_model

    return ensure_embedded_model(models_folder)


@pytest.fixture(scope="session")
def embedded_model(embedded_model_path: Path):
    """The embedded language model in float32."""
    from toolformer.forward.language_model import LanguageModel

    return LanguageModel.load(embedded_model_path, precision="float32", device="cpu")
